package main

import (
	"fmt"
	"strconv"
	"strings"
)

// A testCase has the name, the default ops and the code of one case. The ops
// are the same in both peers; fib counts in n, all others in operations.
type testCase struct {
	name string
	ops  int
	run  func(o options, beforeKiB int) (round, error)
}

var cases = []testCase{
	{"yield", 10_000_000, yield},
	{"spawn_join", 2_000_000, spawnJoin},
	{"spawn_many", 1_000_000, spawnMany},
	{"fib", 30, fib},
	{"skynet", 1_000_000, skynet},
	{"chan_rt", 2_000_000, chanRoundTrip},
	{"chan_buf", 10_000_000, chanBuffered},
	{"mutex", 20_000_000, mutex},
	{"parked", 1_000_000, parked},
	{"sleepers", 1_000_000, sleepers},
}

type options struct {
	testCase
	workers int
	rounds  int
	pairs   int
}

func usage() string {
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = c.name
	}
	return "usage: peer-go CASE --workers N [--ops N] [--rounds N] [--pairs N]\n" +
		"cases: " + strings.Join(names, " ")
}

func parse(words []string) (options, error) {
	o := options{rounds: 1, pairs: 1}

	if len(words) == 0 {
		return o, fmt.Errorf("a case is missing")
	}
	for _, c := range cases {
		if c.name == words[0] {
			o.testCase = c
		}
	}
	if o.name == "" {
		return o, fmt.Errorf("unknown case %s", words[0])
	}

	for words = words[1:]; len(words) > 0; words = words[2:] {
		if len(words) == 1 {
			return o, fmt.Errorf("%s needs a value", words[0])
		}
		if err := o.set(words[0], words[1]); err != nil {
			return o, err
		}
	}
	return o, o.check()
}

func (o *options) set(option, value string) error {
	// The checks sum up to ops squared, which has to fit 64 bits.
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 1<<31 {
		return fmt.Errorf("%s needs a number from 1 to 2^31, not %s", option, value)
	}

	switch option {
	case "--workers":
		o.workers = n
	case "--ops":
		o.ops = n
	case "--rounds":
		o.rounds = n
	case "--pairs":
		o.pairs = n
	default:
		return fmt.Errorf("unknown option %s", option)
	}
	return nil
}

func (o *options) check() error {
	if o.workers < 1 || o.workers > 1024 {
		return fmt.Errorf("--workers N is needed, from 1 to 1024")
	}
	if o.name == "fib" && (o.ops < 2 || o.ops > 45) {
		return fmt.Errorf("fib: --ops is n, from 2 to 45")
	}
	if o.name == "skynet" && !isPowerOfTen(o.ops) {
		return fmt.Errorf("skynet: --ops is the number of leaves, a power of ten")
	}
	return nil
}

func isPowerOfTen(n int) bool {
	for n%10 == 0 {
		n /= 10
	}
	return n == 1
}

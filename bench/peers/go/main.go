// What does the same work cost in Go?
//
// Runs one case and prints one line a round, in the format that weft's own
// benches and the tokio peer share:
//
//	RESULT <case> workers=<N> ops=<ops> ns=<elapsed> rss_kib=<VmHWM>
//
// A fair answer needs: the caller pins the process (taskset) and alternates it
// with its rivals. The garbage collector runs with its defaults, since what it
// costs is part of what a goroutine costs; one collection before each round,
// outside the time, keeps a round from paying for the one before it.
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// A round is what one run of a case hands back.
type round struct {
	ops     int // how many were done: ops rounded down to what divides evenly
	elapsed time.Duration
	note    string // further fields for the end of the line, led by a space
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "peer-go: %v\n%s\n", err, usage())
		os.Exit(64)
	}
	runtime.GOMAXPROCS(o.workers)

	if err := allRounds(o); err != nil {
		fmt.Fprintf(os.Stderr, "peer-go: %v\n", err)
		os.Exit(1)
	}
}

func allRounds(o options) error {
	if _, err := o.run(warmUp(o), residentKiB()); err != nil {
		return err
	}
	runtime.GC()
	beforeKiB := residentKiB()

	for range o.rounds {
		runtime.GC()
		r, err := o.run(o, beforeKiB)
		if err != nil {
			return err
		}
		fmt.Printf("RESULT %s workers=%d ops=%d ns=%d rss_kib=%d%s\n",
			o.name, o.workers, r.ops, r.elapsed.Nanoseconds(), peakKiB(), r.note)
	}
	return nil
}

// warmUp runs once, and small where the peak of memory is part of the answer.
func warmUp(o options) options {
	switch o.name {
	case "spawn_many", "skynet", "parked", "sleepers":
		o.ops = min(o.ops, 1_000)
	case "fib":
		o.ops = max(o.ops-5, 2)
	default:
		o.ops = max(o.ops/10, 1)
	}
	return o
}

// checked is the end of every case: the round stands only if its result does.
func checked(o options, ops int, elapsed time.Duration, got, expected int) (round, error) {
	if got != expected {
		return round{}, fmt.Errorf("%s: the result is %d, expected %d", o.name, got, expected)
	}
	return round{ops: ops, elapsed: elapsed}, nil
}

// sumBelow is 0 + 1 + ... + (n - 1): what most cases add up to prove that all
// was done.
func sumBelow(n int) int {
	return n * (n - 1) / 2
}

package main

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"
)

// How late a million timers fire: each goroutine sleeps once for its own time
// of 0 to 1 s, counted from where it begins, and notes how late it woke.
func sleepers(o options, _ int) (round, error) {
	late := make([]int64, o.ops)
	for i := range late {
		late[i] = -1
	}
	var all sync.WaitGroup
	used := processorTime()
	start := time.Now()

	all.Add(o.ops)
	for i := range o.ops {
		go func() {
			begin := time.Now()
			d := sleepTime(i)
			time.Sleep(d)
			late[i] = int64(time.Since(begin) - d)
			all.Done()
		}()
	}
	all.Wait()
	elapsed := time.Since(start)
	used = processorTime() - used

	slices.Sort(late)
	if late[0] < 0 {
		return round{}, fmt.Errorf("sleepers: one woke %d ns early", -late[0])
	}
	note := fmt.Sprintf(" p50_ns=%d p99_ns=%d worst_ns=%d cpu_ns=%d",
		late[o.ops/2], late[o.ops-1-o.ops/100], late[o.ops-1], used)
	return round{ops: o.ops, elapsed: elapsed, note: note}, nil
}

// processorTime is what the process has used so far, in nanoseconds: of the
// stretch that is timed, and not of the sort behind it.
func processorTime() int64 {
	var usage syscall.Rusage

	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// sleepTime is the same in every language: splitmix64 of the sleeper's number,
// below a second.
func sleepTime(number int) time.Duration {
	x := (uint64(number) + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return time.Duration((x ^ x>>31) % 1_000_000_000)
}

package main

import (
	"fmt"
	"sync"
	"time"
)

// What a waiting goroutine costs in memory: nearly all of it is the 2 KiB
// stack. All wait on one channel, which opens by being closed; a WaitGroup, a
// Cond and a read lock took the same 2,675 bytes. The time covers spawn to
// parked and wake to gone, not the look at /proc between them.
//
// beforeKiB was read before the first round: a later round lives in the memory
// that the first one left with the runtime, and would look free.
func parked(o options, beforeKiB int) (round, error) {
	var arrived, left sync.WaitGroup
	gate := make(chan struct{})
	wait := func() {
		arrived.Done()
		<-gate
		left.Done()
	}
	start := time.Now()

	arrived.Add(o.ops)
	left.Add(o.ops)
	for range o.ops {
		go wait()
	}
	arrived.Wait()
	elapsed := time.Since(start)

	// Who arrived last may still be on its way to sleep.
	time.Sleep(20 * time.Millisecond)
	grownKiB := max(residentKiB()-beforeKiB, 0)

	start = time.Now()
	close(gate)
	left.Wait()
	elapsed += time.Since(start)

	note := fmt.Sprintf(" bytes_each=%d", grownKiB*1024/o.ops)
	return round{ops: o.ops, elapsed: elapsed, note: note}, nil
}

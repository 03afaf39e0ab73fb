package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const yielders = 1_000

func yield(o options, _ int) (round, error) {
	each := max(o.ops/yielders, 1)
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()

	wg.Add(yielders)
	for range yielders {
		go func() {
			for range each {
				runtime.Gosched()
			}
			done.Add(int64(each))
			wg.Done()
		}()
	}
	wg.Wait()
	return checked(o, each*yielders, time.Since(start), int(done.Load()), each*yielders)
}

// A child is one goroutine's work, its result and the way to wait for it.
type child struct {
	wg    sync.WaitGroup
	value int
	sum   int
}

func (c *child) run() {
	c.sum += c.value
	c.wg.Done()
}

// One WaitGroup and one method value for all: 241 ns against 270 for a closure
// a goroutine, with a channel or a WaitGroup alike, since each closure is an
// allocation.
func spawnJoin(o options, _ int) (round, error) {
	c := new(child)
	run := c.run
	start := time.Now()

	for i := range o.ops {
		c.value = i
		c.wg.Add(1)
		go run()
		c.wg.Wait()
	}
	return checked(o, o.ops, time.Since(start), c.sum, sumBelow(o.ops))
}

// The WaitGroup counts and wakes in one atomic operation. It is the check too:
// Wait returns only when Done was called ops times, one more would panic.
func spawnMany(o options, _ int) (round, error) {
	var wg sync.WaitGroup
	done := func() { wg.Done() }
	start := time.Now()

	wg.Add(o.ops)
	for range o.ops {
		go done()
	}
	wg.Wait()
	return round{ops: o.ops, elapsed: time.Since(start)}, nil
}

func fib(o options, _ int) (round, error) {
	start := time.Now()
	got := fibSpawning(o.ops)

	// One spawn for every call with n >= 2.
	return checked(o, fibPlain(o.ops+1)-1, time.Since(start), got, fibPlain(o.ops))
}

// An unbuffered channel a call. A buffered one and a WaitGroup, alone or with
// the result in one struct, measured the same (624 to 639 ns).
func fibSpawning(n int) int {
	if n < 2 {
		return n
	}
	spawned := make(chan int)
	go func() { spawned <- fibSpawning(n - 1) }()

	own := fibSpawning(n - 2)
	return <-spawned + own
}

func fibPlain(n int) int {
	a, b := 0, 1
	for range n {
		a, b = b, a+b
	}
	return a
}

// A node adds up its children: 656 ms for a million leaves against 820 with a
// channel a node, buffered or not, and 739 with a slot a child.
type node struct {
	wg  sync.WaitGroup
	sum atomic.Int64
}

func skynet(o options, _ int) (round, error) {
	var root node
	start := time.Now()

	root.wg.Add(1)
	go root.child(0, o.ops)
	root.wg.Wait()
	return checked(o, o.ops, time.Since(start), int(root.sum.Load()), sumBelow(o.ops))
}

func (parent *node) child(first, size int) {
	sum := first
	if size > 1 {
		var n node

		n.wg.Add(10)
		for i := range 10 {
			go n.child(first+i*(size/10), size/10)
		}
		n.wg.Wait()
		sum = int(n.sum.Load())
	}
	parent.sum.Add(int64(sum))
	parent.wg.Done()
}

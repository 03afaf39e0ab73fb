package main

import (
	"sync"
	"time"
)

const lockers = 64

func mutex(o options, _ int) (round, error) {
	each := max(o.ops/lockers, 1)
	var mu sync.Mutex
	var wg sync.WaitGroup
	counter := 0
	start := time.Now()

	wg.Add(lockers)
	for range lockers {
		go func() {
			for range each {
				mu.Lock()
				counter++
				mu.Unlock()
			}
			wg.Done()
		}()
	}
	wg.Wait()
	return checked(o, each*lockers, time.Since(start), counter, each*lockers)
}

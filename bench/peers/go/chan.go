package main

import (
	"sync"
	"time"
)

const buffer = 1_024

func chanRoundTrip(o options, _ int) (round, error) {
	ping, pong := make(chan int), make(chan int)
	start := time.Now()

	go func() {
		for value := range ping {
			pong <- value + 1
		}
		close(pong)
	}()

	sum := 0
	for i := range o.ops {
		ping <- i
		sum += <-pong
	}
	close(ping)
	<-pong
	return checked(o, o.ops, time.Since(start), sum, sumBelow(o.ops)+o.ops)
}

func chanBuffered(o options, _ int) (round, error) {
	each := max(o.ops/o.pairs, 1)
	values := make(chan uint64, buffer)
	sums := make(chan uint64, o.pairs)
	var producers sync.WaitGroup
	start := time.Now()

	producers.Add(o.pairs)
	for pair := range o.pairs {
		go func() {
			var sum uint64
			for value := range values {
				sum += value
			}
			sums <- sum
		}()
		go func() {
			for i := pair * each; i < (pair+1)*each; i++ {
				values <- uint64(i)
			}
			producers.Done()
		}()
	}
	producers.Wait()
	close(values)

	var sum uint64
	for range o.pairs {
		sum += <-sums
	}
	return checked(o, each*o.pairs, time.Since(start), int(sum), sumBelow(each*o.pairs))
}

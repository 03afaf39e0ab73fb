package main

import (
	"os"
	"strconv"
	"strings"
)

// peakKiB is the highest resident size of this process so far.
func peakKiB() int {
	return statusKiB("VmHWM:")
}

// residentKiB counts resident pages and the page tables that map them.
func residentKiB() int {
	return statusKiB("VmRSS:") + statusKiB("VmPTE:")
}

// statusKiB is 0 where the kernel does not say.
func statusKiB(field string) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == field {
			kib, _ := strconv.Atoi(words[1])
			return kib
		}
	}
	return 0
}

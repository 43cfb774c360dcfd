package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeFlag is a flag of bytes: 65536, 64KiB, 1.5GiB. K, M, G and T mean the
// same as KiB, MiB, GiB and TiB.
type sizeFlag int64

func (f *sizeFlag) String() string {
	return strings.NewReplacer(".0 ", "", " ", "").Replace(bytesText(int64(*f)))
}

func (f *sizeFlag) Set(s string) error {
	number, unit := strings.ToUpper(strings.TrimSpace(s)), 0
	number = strings.TrimSuffix(strings.TrimSuffix(number, "B"), "I")
	if n := len(number); n > 0 {
		if unit = strings.IndexByte("KMGT", number[n-1]) + 1; unit > 0 {
			number = number[:n-1]
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if v *= math.Pow(1024, float64(unit)); err != nil || !(v >= 1 && v <= 1<<50) {
		return fmt.Errorf("%q is not a size: want bytes, or a number with KiB, MiB, GiB or TiB", s)
	}
	*f = sizeFlag(v)
	return nil
}

func (f *sizeFlag) Type() string { return "SIZE" }

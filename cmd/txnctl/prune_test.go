package main

import (
	"testing"
	"time"
)

func TestSpanFlag(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"12h": 12 * time.Hour, "30d": 720 * time.Hour, "8w": 56 * 24 * time.Hour, "1y": 365 * 24 * time.Hour, "1w3d": 240 * time.Hour, "90min1s": 90*time.Minute + time.Second,
	} {
		var f spanFlag
		if err := f.Set(text); err != nil || time.Duration(f) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(f), err)
		}
		var again spanFlag
		if err := again.Set(f.String()); err != nil || again != f {
			t.Errorf("%s is printed as %s", text, f.String())
		}
	}
	for _, text := range []string{"", "d", "3", "3m", "1month", "-1d", "1.5h", "0d", "999999y", "1d ", "290y290y"} {
		var f spanFlag
		if err := f.Set(text); err == nil {
			t.Errorf("%q is %v", text, time.Duration(f))
		}
	}
}

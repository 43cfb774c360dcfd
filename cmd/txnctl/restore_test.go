package main

import (
	"errors"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	local := time.Date(2026, 11, 21, 3, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"2026-11-21 03:00:00":                 local,
		"2026-11-21 03:00:00.25":              local.Add(250 * time.Millisecond),
		"2026-11-21T03:00:00Z":                time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC),
		"2026-11-21 03:00:00Z":                time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC),
		"2026-11-21 03:00:00.5+01:00":         time.Date(2026, 11, 21, 2, 0, 0, 5e8, time.UTC),
		"2026-11-21T03:00:00.000000001+01:00": time.Date(2026, 11, 21, 2, 0, 0, 1, time.UTC),
	} {
		if got, err := parseTime(text); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, want %v: %v", text, got, want, err)
		}
	}
	var usage usageError
	for _, text := range []string{"", "3:00", "2026-11-21", "2026-13-01 00:00:00", "now"} {
		if _, err := parseTime(text); !errors.As(err, &usage) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

package retain

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// at makes times of a text, the newest first.
func at(t testing.TB, texts ...string) (times []time.Time) {
	t.Helper()
	for _, text := range texts {
		one, err := time.Parse("2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, one)
	}
	return times
}

func TestPick(t *testing.T) {
	times := at(t, "2026-03-10 12:30", "2026-03-10 12:10", "2026-03-10 11:59", "2026-03-09 23:00", "2026-03-08 23:00", "2026-03-08 22:00", "2026-02-28 10:00", "2026-02-01 10:00", "2025-12-31 10:00")
	now := times[0].Add(time.Minute)
	for _, c := range []struct {
		policy Policy
		want   string // reasons by index
		from   int
	}{
		{Policy{Last: 1}, "0 last", 0},
		{Policy{Last: 3}, "0 last, 1 last, 2 last", 2},
		{Policy{Last: 99}, "0 last, 1 last, 2 last, 3 last, 4 last, 5 last, 6 last, 7 last, 8 last", 8},
		{Policy{Hourly: 2}, "0 hourly, 2 hourly", 2},
		{Policy{Daily: 3}, "0 daily, 3 daily, 4 daily", 4},
		{Policy{Weekly: 3}, "0 weekly, 4 weekly, 6 weekly", 6},
		{Policy{Monthly: 3}, "0 monthly, 6 monthly, 8 monthly", 8},
		{Policy{Last: 1, Daily: 2}, "0 last daily, 3 daily", 3},
		{Policy{Within: time.Hour}, "0 within, 1 within, 2 within, 3 from", 3},
		{Policy{Within: 14 * time.Hour, Monthly: 3}, "0 monthly within, 1 within, 2 within, 3 within, 4 from, 6 monthly, 8 monthly", 4},
		{Policy{Within: time.Second}, "0 from", 0},
		{Policy{Within: 1000 * time.Hour}, "0 within, 1 within, 2 within, 3 within, 4 within, 5 within, 6 within, 7 within, 8 from", 8},
		{Policy{Within: 9000 * time.Hour}, "0 within, 1 within, 2 within, 3 within, 4 within, 5 within, 6 within, 7 within, 8 within", 9},
	} {
		if err := c.policy.Check(); err != nil {
			t.Error(err)
		}
		reasons, from := c.policy.pick(times, now)
		var got []string
		for i, r := range reasons {
			if r != nil {
				got = append(got, fmt.Sprint(i, " ", strings.Join(r, " ")))
			}
		}
		if text := strings.Join(got, ", "); text != c.want || from != c.from {
			t.Errorf("%+v picks %s from %d, want %s from %d", c.policy, text, from, c.want, c.from)
		}
	}
	// A day begins where people say it does.
	berlin := time.FixedZone("", 3600)
	if reasons, _ := (Policy{Daily: 2}).pick(times[2:], now.In(berlin)); reasons[1] != nil || reasons[2] == nil {
		t.Errorf("picked %v", reasons)
	}
}

func TestPolicyIsRefused(t *testing.T) {
	for _, p := range []Policy{{}, {Left: time.Hour}, {Last: -1}, {Last: 1, Daily: -1}, {Within: -1}, {Last: 1, Left: -1}} {
		if err := p.Check(); !errors.Is(err, ErrPolicy) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// TestPickKeeps: whatever the policy and the times, something stays, the newest unless only
// Within is asked for; more rules keep more, and what Within promises begins at a
// snapshot that is not younger.
func TestPickKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		var times []time.Time
		at := now
		for range rapid.IntRange(1, 30).Draw(t, "snapshots") {
			at = at.Add(-time.Duration(rapid.IntRange(1, 5000).Draw(t, "minutes")) * time.Minute)
			times = append(times, at)
		}
		small := rapid.IntRange(0, 4)
		p := Policy{
			Last: small.Draw(t, "last"), Hourly: small.Draw(t, "hourly"), Daily: small.Draw(t, "daily"), Weekly: small.Draw(t, "weekly"), Monthly: small.Draw(t, "monthly"),
			Within: time.Duration(small.Draw(t, "days")) * 24 * time.Hour,
		}
		if p.Check() != nil {
			p.Last = 1
		}
		reasons, from := p.pick(times, now)
		if !slices.ContainsFunc(reasons, func(r []string) bool { return r != nil }) || reasons[0] == nil {
			t.Fatalf("%+v keeps nothing, or not the newest: %v", p, reasons)
		}
		if from < len(times) && (reasons[from] == nil || p.Within > 0 && times[from].After(now.Add(-p.Within))) {
			t.Fatalf("%+v promises all from snapshot %d on: %v", p, from, reasons)
		}
		if from == len(times) && (p.Within == 0 || times[len(times)-1].Before(now.Add(-p.Within))) {
			t.Fatalf("%+v promises all: %v", p, reasons)
		}
		more := p
		more.Daily++
		after, _ := more.pick(times, now)
		for i := range reasons {
			if reasons[i] != nil && after[i] == nil {
				t.Fatalf("%+v keeps %d, %+v does not", p, i, more)
			}
		}
	})
}

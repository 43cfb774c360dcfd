package retain

import (
	"errors"
	"fmt"
	"time"
)

// ErrPolicy: a policy has no rule, or one that makes no sense.
var ErrPolicy = errors.New("a policy that keeps nothing")

// Policy says what stays, as a union of rules. Zero rules want nothing.
type Policy struct {
	Last    int // the newest snapshots, that many
	Hourly  int // the newest snapshot of each hour, for as many hours that have one
	Daily   int // likewise
	Weekly  int // weeks begin on Monday
	Monthly int
	// Within wants every snapshot that is not older, and every point in time.
	Within time.Duration
	// Left is how long a timeline is kept for itself that another one has left, since
	// something was last added to it: 30 days when zero, Within at least.
	Left time.Duration
}

// DefaultLeft is Policy.Left when that is zero.
const DefaultLeft = 30 * 24 * time.Hour

// Check returns nil if the policy has a rule and no rule is below zero, else ErrPolicy.
func (p Policy) Check() error {
	for _, n := range []int{p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly, int(p.Within), int(p.Left)} {
		if n < 0 {
			return fmt.Errorf("retain: %w: %d of something; nothing was deleted", ErrPolicy, n)
		}
	}
	if p.Last+p.Hourly+p.Daily+p.Weekly+p.Monthly == 0 && p.Within == 0 {
		return fmt.Errorf("retain: %w: give it a rule; nothing was deleted", ErrPolicy)
	}
	return nil
}

func (p Policy) left() time.Duration {
	if p.Left == 0 {
		p.Left = DefaultLeft
	}
	return max(p.Left, p.Within)
}

// Reasons why a snapshot stays.
const (
	ReasonLast    = "last"
	ReasonHourly  = "hourly"
	ReasonDaily   = "daily"
	ReasonWeekly  = "weekly"
	ReasonMonthly = "monthly"
	ReasonWithin  = "within"  // it is not older
	ReasonFrom    = "from"    // points in time within need it
	ReasonBase    = "base"    // another one that stays is an increment on it
	ReasonDamaged = "damaged" // it cannot be restored, and is younger than one that stays
)

// rule wants the newest snapshot of each period, for some periods.
type rule struct {
	reason string
	n      int
	period func(time.Time) string
	last   string // period that was served
}

func (p Policy) rules() []*rule {
	serial := 0
	return []*rule{
		{reason: ReasonLast, n: p.Last, period: func(time.Time) string { serial++; return fmt.Sprint(serial) }},
		{reason: ReasonHourly, n: p.Hourly, period: func(t time.Time) string { return t.Format("2006-01-02 15 -0700") }},
		{reason: ReasonDaily, n: p.Daily, period: func(t time.Time) string { return t.Format(time.DateOnly) }},
		{reason: ReasonWeekly, n: p.Weekly, period: func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprint(year, "-", week)
		}},
		{reason: ReasonMonthly, n: p.Monthly, period: func(t time.Time) string { return t.Format("2006-01") }},
	}
}

// wants reports whether the rule wants a snapshot of that time; they come the newest
// first.
func (r *rule) wants(t time.Time) bool {
	if r.n == 0 {
		return false
	}
	period := r.period(t)
	if period == r.last {
		return false
	}
	r.last = period
	r.n--
	return true
}

// pick says why each snapshot of a line stays, if it does. times are the newest first. from
// is the index of the one from which on all points in time are promised: len(times) when
// that is the beginning of the line.
func (p Policy) pick(times []time.Time, now time.Time) (reasons [][]string, from int) {
	reasons, from = make([][]string, len(times)), len(times)
	rules, cutoff := p.rules(), now.Add(-p.Within)
	for i, t := range times {
		t = t.In(now.Location())
		for _, r := range rules {
			if r.wants(t) {
				reasons[i] = append(reasons[i], r.reason)
			}
		}
		switch {
		case p.Within == 0:
		case t.After(cutoff):
			reasons[i] = append(reasons[i], ReasonWithin)
		case from == len(times):
			from = i
			reasons[i] = append(reasons[i], ReasonFrom)
		}
		if p.Within == 0 && reasons[i] != nil {
			from = i
		}
	}
	return reasons, from
}

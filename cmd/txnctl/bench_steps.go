package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// steps shows a person how far one step after the other is, in per cent.
type steps struct {
	a    *app
	name string
	bar  *progressbar.ProgressBar
}

func (a *app) steps() *steps { return &steps{a: a} }

// at says how far a step is. A new name takes the old step away.
func (s *steps) at(name string, done, total int64) {
	if !onTerminal(s.a.err) || total <= 0 {
		return
	}
	if s.bar == nil || s.name != name {
		s.end()
		s.name = name
		s.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetDescription(name),
			progressbar.OptionSetWriter(s.a.err),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetTheme(progressbar.ThemeASCII),
		)
	}
	_ = s.bar.Set64(min(done, total-1)) // end takes it away
}

// end takes it away, for what the command prints.
func (s *steps) end() {
	if s.bar != nil {
		_ = s.bar.Finish()
		s.bar = nil
	}
}

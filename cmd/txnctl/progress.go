package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows a person how far something that takes a while is. It shows
// nothing when stderr is not a terminal.
type progress struct{ bar *progressbar.ProgressBar }

// progress begins to show one. total is in bytes; -1 when it is not known.
func (a *app) progress(what string, total int64) *progress {
	if !onTerminal(a.err) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(total,
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWriter(a.err),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
	)}
}

// at says that done bytes are done.
func (p *progress) at(done int64) {
	if p.bar != nil {
		_ = p.bar.Set64(done)
	}
}

// of says it together with a total that became known meanwhile.
func (p *progress) of(done, total int64) {
	if p.bar != nil && p.bar.GetMax64() != total {
		p.bar.ChangeMax64(total)
	}
	p.at(done)
}

// end takes it away, for what the command prints.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// Write counts the bytes that pass.
func (p *progress) Write(b []byte) (int, error) {
	if p.bar != nil {
		_ = p.bar.Add(len(b))
	}
	return len(b), nil
}

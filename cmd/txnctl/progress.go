package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows a person how far something that takes a while is. It shows
// nothing when stderr is not a terminal.
type progress struct {
	bar  *progressbar.ProgressBar
	stop chan struct{} // of what turns the wheel; nil when nothing does
	done chan struct{}
}

// unknownTotal makes a wheel that turns instead of a bar that grows.
const unknownTotal = -1

const progressEvery = 100 * time.Millisecond

// progress begins to show how many bytes of total are done.
func (a *app) progress(what string, total int64) *progress {
	return a.newProgress(what, total, true)
}

// wait begins to show that something without a measure is being done.
func (a *app) wait(what string) *progress {
	p := a.newProgress(what, unknownTotal, false)
	if p.bar != nil {
		p.stop, p.done = make(chan struct{}), make(chan struct{})
		go p.turn()
	}
	return p
}

func (a *app) newProgress(what string, total int64, bytes bool) *progress {
	if !onTerminal(a.err) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(total,
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWriter(a.err),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(progressEvery),
		progressbar.OptionSetSpinnerChangeInterval(0), // its own goroutine would race with us
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
	)}
}

// turn turns the wheel until end.
func (p *progress) turn() {
	defer close(p.done)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			_ = p.bar.Add(1)
		}
	}
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
	if p.stop != nil {
		close(p.stop)
		<-p.done
	}
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

//go:build disks

package disks

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// commitsEach is how many commits of each writer a child with failing system
// calls tries.
const commitsEach = 40

// counts is what a series of injections came to.
type counts struct{ runs, hit, opening, poisoned, ordinary int }

func (c counts) String() string {
	return fmt.Sprintf("%d runs, %d met the error: %d while opening, %d poisoned the store, %d got ordinary errors only",
		c.runs, c.hit, c.opening, c.poisoned, c.ordinary)
}

func (c *counts) add(d counts) {
	c.runs, c.hit, c.opening = c.runs+d.runs, c.hit+d.hit, c.opening+d.opening
	c.poisoned, c.ordinary = c.poisoned+d.poisoned, c.ordinary+d.ordinary
}

// patient is a store whose children meet errors.
type patient struct {
	t      *testing.T
	dir    string
	oracle *oracle
	counts counts
}

func newPatient(t *testing.T) *patient {
	return &patient{t: t, dir: filepath.Join(t.TempDir(), "store"), oracle: newOracle()}
}

// met notes how a child that met the error, or did not, has ended, and checks
// what it left: all that it acknowledged.
func (p *patient) met(r *running, hit bool, what string) {
	p.t.Helper()
	p.counts.runs++
	switch {
	case !hit:
		if !strings.Contains(r.ended, "poisoned: false ordinary errors: 0") {
			p.t.Errorf("%s: nothing failed, and still: %s", what, r.ended)
		}
	case strings.HasPrefix(r.ended, saysEnd+" open:"), strings.HasPrefix(r.ended, saysEnd+" begin:"):
		p.counts.opening++
	case strings.Contains(r.ended, "poisoned: true"):
		p.counts.poisoned++
	case strings.Contains(r.ended, "ordinary errors: 0"): // a background write, tried again
	default:
		p.counts.ordinary++
	}
	if hit {
		p.counts.hit++
	}
	a, err := readAcks(r.acks, p.oracle.at)
	must(p.t, err)
	if err := p.oracle.look(p.dir, a); err != nil {
		p.t.Fatalf("%s: %v; the child: %s", what, err, r.ended)
	}
	if err := p.oracle.reopen(p.dir); err != nil {
		p.t.Fatalf("%s: opening it: %v", what, err)
	}
}

// seed lets a child work without errors first.
func (p *patient) seed() {
	p.t.Helper()
	r := start(p.t, p.dir, nil, envLimit+"=10")
	r.ready()
	r.order()
	p.met(r, false, "no error")
	p.counts = counts{}
}

// ready waits until a child has opened its store, and returns the files of its
// log; none when it ended before.
func (r *running) ready() (files []string) {
	r.t.Helper()
	for {
		line, ok := r.heard("")
		if !ok || line == saysReady {
			return files
		}
		if name, is := strings.CutPrefix(line, saysFile+" "); is {
			files = append(files, name)
		}
	}
}

// order lets a child go on that is ready, and waits for its end.
func (r *running) order() {
	r.t.Helper()
	fmt.Fprintln(r.stdin)
	r.finish()
}

// injections reports whether strace's log says that it made a call fail.
func injections(t *testing.T, log string) bool {
	t.Helper()
	b, err := os.ReadFile(log)
	must(t, err)
	return strings.Contains(string(b), "(INJECTED)")
}

// inject lets a child work under strace, from its first system call on.
func (p *patient) inject(call, errno string, when int) {
	p.t.Helper()
	log := filepath.Join(p.t.TempDir(), "strace")
	r := start(p.t, p.dir, []string{
		"strace", "-f", "-qq", "-o", log, "-e", "trace=" + call, "-e", "signal=none",
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", call, errno, when),
	}, fmt.Sprintf("%s=%d", envLimit, commitsEach))
	r.ready()
	r.order()
	p.met(r, injections(p.t, log), fmt.Sprintf("%s of %s number %d", errno, call, when))
}

// TestSyncFails has the syncs of files and of directories fail.
func TestSyncFails(t *testing.T) {
	p := newPatient(t)
	p.seed()
	for when := range 14 {
		p.inject("fdatasync", "EIO", 1+when)
	}
	if p.counts.poisoned < 3 {
		t.Errorf("failed syncs poisoned the store only %d times", p.counts.poisoned)
	}
	for when := range 5 {
		p.inject("fsync", "EIO", 1+when)
	}
	t.Log(p.counts)
}

// TestWriteFails has writes fail that go to the heap, the manifest and files
// that are made ready.
func TestWriteFails(t *testing.T) {
	p := newPatient(t)
	p.seed()
	for i := range 14 {
		p.inject("pwrite64", []string{"EIO", "ENOSPC"}[i%2], 1+i*3)
	}
	t.Log(p.counts)
	if p.counts.hit < 10 {
		t.Errorf("only %d of %d runs met an error", p.counts.hit, p.counts.runs)
	}
}

// TestLogFails has the writes and the syncs of the log itself fail. Its library
// writes with write(2), and strace is told to which files, since Go's own
// runtime does not stand failing ones.
func TestLogFails(t *testing.T) {
	for _, call := range []string{"write", "fdatasync"} {
		t.Run(call, func(t *testing.T) {
			p := newPatient(t)
			p.seed()
			for i := range 10 {
				p.injectLog(call, []string{"EIO", "ENOSPC"}[i%2], 1+i)
			}
			t.Log(p.counts)
			least := p.counts.hit
			if call == "fdatasync" { // some may be those of the next file, which is made ready
				least /= 2
			}
			if p.counts.hit < 5 || p.counts.poisoned < least {
				t.Errorf("it poisons the store: %v", p.counts)
			}
		})
	}
}

func (p *patient) injectLog(call, errno string, when int) {
	p.t.Helper()
	r := start(p.t, p.dir, nil, fmt.Sprintf("%s=%d", envLimit, commitsEach))
	args := []string{}
	for _, name := range r.ready() {
		args = append(args, "-P", name)
	}
	log := filepath.Join(p.t.TempDir(), "strace")
	args = append(args, "-f", "-p", fmt.Sprint(r.cmd.Process.Pid), "-o", log, "-e", "trace="+call, "-e", "signal=none",
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", call, errno, when))
	tracer := exec.Command("strace", args...)
	said, err := tracer.StderrPipe()
	must(p.t, err)
	must(p.t, tracer.Start())
	attached := make(chan struct{})
	go func() {
		once := attached
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if once != nil && strings.Contains(lines.Text(), "attached") {
				close(once)
				once = nil
			}
		}
	}()
	select {
	case <-attached:
	case <-time.After(patience):
		p.t.Fatal("strace does not attach")
	}
	r.order()
	_ = tracer.Wait() // it ends with the child
	p.met(r, injections(p.t, log), fmt.Sprintf("%s of %s number %d of the log", errno, call, when))
}

// TestFileSizeLimit ends what a file may hold in the middle of a new store's
// log, so that an append is cut short there: a part of it is written.
func TestFileSizeLimit(t *testing.T) {
	var sum counts
	for i := range 10 {
		p := newPatient(t)
		limit := 5003 + i*i*9001
		r := start(t, p.dir, nil, fmt.Sprintf("%s=%d", envLimit, commitsEach), fmt.Sprintf("%s=%d", envFsize, limit))
		r.ready()
		r.order()
		p.met(r, true, fmt.Sprintf("no file beyond %d bytes", limit))
		sum.add(p.counts)
	}
	t.Log(sum)
	if sum.poisoned < 5 {
		t.Errorf("an append that is cut short poisons the store: %v", sum)
	}
}

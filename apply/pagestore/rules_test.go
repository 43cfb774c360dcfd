//go:build rules

package pagestore_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// rule is one that tips.go, or a file beside it, states: what it says, and the
// place in the source where it is left out.
type rule struct {
	says     string
	file     string // beside this one, or from the module's root on
	old, new string
}

var rules = []rule{
	{"an edit leaves alone what a kept tip reaches", "draft.go",
		"Origin: v.lin.After,", "Origin: v.lin.Fork,"},
	{"an edit leaves alone what the origin reaches", "draft.go",
		"Origin: v.lin.After,", "Origin: 0,"},
	{"the first pin ends the epoch: a kept tree is not changed in place", "tips.go",
		"v.loaded = true // its record changed, and no tip was made\n\t\tb.draft.epoch++", "v.loaded = true"},
	{"the first pin bounds what the current tip may report", "tips.go",
		"v.lin.After = b.draft.Head.LSN\n\t\tv.loaded", "v.loaded"},
	{"that bound is the entry before the pin, not the tip: a refused transaction has left copies", "tips.go",
		"v.lin.After = b.draft.Head.LSN\n\t\tv.loaded", "v.lin.After = v.lin.Tip\n\t\tv.loaded"},
	{"the bound of a pin lasts", "tips.go",
		"v.loaded = true // its record changed, and no tip was made\n", ""},
	{"a fork whose pages change ends the epoch before it loads them", "draft.go",
		"v.borrowed {\n\t\tv.draft.epoch++", "v.borrowed {"},
	{"a fork owns what is born behind the entry before it, not behind its origin's tip", "tips.go",
		"Fork: b.draft.Head.LSN, After: b.draft.Head.LSN,", "Fork: b.kept.id.Tip, After: b.kept.id.Tip,"},
	{"copies that a fork loads are its own", "pagetree/edit.go",
		"birth := max(e.LSN-1, e.Origin+1)", "birth := e.LSN - 1"},
	{"a tag that moves lets go of its tip", "tips.go",
		"if t.Exists {\n\t\tt.tip.unpin()\n\t}", ""},
	{"the tags of a volume go with it", "tips.go",
		"\t\tt.Unpin()\n\t\tt.Delete()\n", "\t\t_ = t\n"},
	{"a lineage lives while it has kept tips", "tips.go",
		"if v.lin.After != v.lin.Fork { // it has kept tips", "if false {"},
	{"a volume that ends lets its origin go", "tips.go",
		"if v.gone.origin != nil {", "if false {"},
	{"a lineage whose last tip is swept ends", "sweep.go",
		"if next.Ended && next.After == next.Fork {", "if false {"},
	{"and lets its origin go", "sweep.go",
		"err != nil || origin == (tipID{}) {\n\t\treturn err", "true {\n\t\treturn err"},
	{"tips without pins are swept", "sweep.go",
		"n < len(s.todo) && n < sweepTips", "n < 0"},
	{"what is behind a swept tip in the chain owns what that owned", "sweep.go",
		"next.After = l.tip.After\n", ""},
	{"what the next tip reaches does not die with a swept one", "sweep.go",
		"next: l.next.Tree,", ""},
	{"what an earlier tip or the origin reaches does not either", "sweep.go",
		"after: l.tip.After, death", "death"},
	{"a swept tip dies with the sweep, not when it ceased to be current: readers between may reach it", "sweep.go",
		"death: d.Head.LSN + 1,", "death: l.tip.Tip + 1,"},
	{"what a reader holds is not reclaimed", "limbo.go",
		"if first, last, ok := reachedBy(held,", "if first, last, ok := reachedBy(held[:0],"},
	{"nodes that only a hold reaches die with the tip that is swept", "sweep.go",
		"pagetree.Bury(b.tree, b.next, b.after, b.death)\n", ""},
	{"what is moved for holds alone is kept for one of the checkpoint's own LSN, too", "spill.go",
		"f.Snap.LSN() + 1})", "f.Snap.LSN()})"},
	{"what no entry replaces is still reached by readers of the last entry's LSN", "draft.go",
		"e.Death = d.Head.LSN + 1", "e.Death = 0"},
	{"images of swept tips are freed where a checkpoint moved them", "checkpoint.go",
		"f.left = append(f.left, f.deaths.follow(f.births.moved)...)", ""},
	{"nothing below a node is younger than it, and younger ones are looked at", "pagetree/lost.go",
		"if goOn, below := l.node(a.knot); !below || !goOn {", "if goOn, _ := l.node(a.knot); true {"},
	{"all bases are states before the entry", "next.go",
		"for i := range p.parts {\n\t\tif b := p.parts[i].base; b != nil {\n\t\t\tb.Pin()\n\t\t}\n\t}", "defer func() {\n\t\tfor i := range p.parts {\n\t\t\tif b := p.parts[i].base; b != nil {\n\t\t\t\tb.Pin()\n\t\t\t}\n\t\t}\n\t}()"},
}

// TestEachRuleIsNeeded builds the histories of this package with one rule after
// the other left out, and makes sure that a few hundred of them find out.
func TestEachRuleIsNeeded(t *testing.T) {
	began := time.Now()
	next := make(chan rule)
	var builders sync.WaitGroup
	for range 2 {
		builders.Go(func() {
			for r := range next {
				r.isNeeded(t)
			}
		})
	}
	for _, r := range rules {
		next <- r
	}
	close(next)
	builders.Wait()
	t.Logf("%d rules, %v", len(rules), time.Since(began).Round(time.Second))
}

func (r rule) isNeeded(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "without.test")
	if err := r.build(dir, binary); err != nil {
		t.Errorf("%s: %v", r.says, err)
		return
	}
	for _, histories := range []string{"400", "6000"} { // most are found out by the first dozen
		cmd := exec.Command(binary, "-test.run=^TestHistories$", "-test.failfast", "-test.timeout=200s")
		cmd.Env = append(os.Environ(), "QUIRE_HISTORIES="+histories)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			t.Logf("%s: %s", r.says, firstComplaint(string(out)))
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("nobody misses that %s", r.says)
}

// build builds the tests of this package without the rule.
func (r rule) build(dir, binary string) error {
	file, err := r.path()
	if err != nil {
		return err
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n := strings.Count(string(source), r.old); n != 1 {
		return errors.New(r.file + " does not have this just once: " + r.old)
	}
	without := filepath.Join(dir, "without.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {file: without}})
	if err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(without, []byte(strings.Replace(string(source), r.old, r.new, 1)), 0o600),
		os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return nil
}

// path is that of the file, which is this package's or package apply's.
func (r rule) path() (string, error) {
	if r.file == "next.go" {
		return filepath.Abs(filepath.Join("..", r.file))
	}
	return filepath.Abs(r.file)
}

// firstComplaint is what a failed test, or a panic, says first.
func firstComplaint(out string) string {
	for line := range strings.Lines(out) {
		for _, mark := range []string{".go:", "panic: "} {
			if strings.Contains(line, mark) && !strings.Contains(line, " histories") {
				return strings.TrimSpace(line)
			}
		}
	}
	return "it failed without a word"
}

//go:build disks

package disks

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
)

// TestPowerCutExt4 and its like shut the file system down beneath a child that
// commits, or opens.
func TestPowerCutExt4(t *testing.T) { powerCut(t, newDisk(t, "ext4", 256<<20, ""), 45) }
func TestPowerCutXFS(t *testing.T)  { powerCut(t, newDisk(t, "xfs", 320<<20, ""), 18) }

func powerCut(t *testing.T, d *disk, crashes int) {
	l := &life{t: t, dir: filepath.Join(d.dir, "store"), oracle: newOracle()}
	l.crash, l.mend = d.shutdown, d.cycle
	l.firsts(d.dir, 1+crashes/8)
	l.live(crashes)
}

// TestKill kills a child that commits or opens, on the disk that tests use.
func TestKill(t *testing.T) {
	top := t.TempDir()
	l := &life{t: t, dir: filepath.Join(top, "store"), oracle: newOracle()}
	l.crash, l.mend = func() {}, func() {} // the child is killed anyway
	l.firsts(top, 10)
	l.live(90)
}

// life is a store that crashes again and again.
type life struct {
	t      *testing.T
	dir    string
	oracle *oracle
	crash  func() // beneath the child that runs
	mend   func() // makes what is left readable

	opening, acked, unsure int
}

// live crashes the store so many times: one in three times while it is opened
// behind another crash. On a disk so slow that this proves nothing it crashes it
// more often, and later.
func (l *life) live(crashes int) {
	l.t.Helper()
	began, i := time.Now(), 0
	for ; i < crashes || l.proves() < crashes && i < 4*crashes; i++ {
		word, after := saysOpen, time.Duration(1+i/crashes)*300*time.Millisecond
		if i%3 == 2 {
			word, after = saysOpening, 25*time.Millisecond
		}
		a := start(l.t, l.dir, nil).crashed(word, rand.N(after), l.crash, l.oracle.at)
		l.mend()
		if word == saysOpening && len(a.list) == 0 {
			l.opening++
		}
		before := l.oracle.at.sum()
		if err := l.oracle.look(l.dir, a); err != nil {
			l.t.Fatalf("crash %d, %d acknowledgements: %v", i, len(a.list), err)
		}
		l.acked += a.durable()
		l.unsure += l.oracle.at.sum() - before - a.durable()
		if i%4 == 3 || i >= crashes-1 {
			if err := l.oracle.reopen(l.dir); err != nil {
				l.t.Fatalf("crash %d: opening it: %v", i, err)
			}
		}
	}
	took := time.Since(began)
	l.t.Logf("%d crashes, %d of them while opening: %d commits acknowledged as durable are there, %d others; %d pages; %.1f crashes/s",
		i, l.opening, l.acked, l.unsure, len(l.oracle.pages), float64(i)/took.Seconds())
	if l.proves() < crashes {
		l.t.Errorf("%d acknowledged commits and %d crashes while opening are too few to prove anything", l.acked, l.opening)
	}
}

// proves is how many commits were acknowledged as durable and found, 0 while no
// opening was met.
func (l *life) proves() int {
	if l.opening == 0 {
		return 0
	}
	return l.acked
}

// firsts crashes new stores while they are made: opening makes them anew, and
// they are as good as any.
func (l *life) firsts(top string, n int) {
	l.t.Helper()
	for i := range n {
		dir, o := filepath.Join(top, fmt.Sprint("new", i)), newOracle()
		a := start(l.t, dir, nil).crashed(saysOpening, rand.N(15*time.Millisecond), l.crash, o.at)
		l.mend()
		m, _, err := txn.Open(dir, options())
		if err != nil {
			l.t.Fatalf("new store %d: %v", i, err)
		}
		must(l.t, m.Close())
		if err := o.look(dir, a); err != nil {
			l.t.Fatalf("new store %d, opened: %v", i, err)
		}
		a = start(l.t, dir, nil).crashed(saysOpen, rand.N(50*time.Millisecond), l.crash, o.at)
		l.mend()
		if err := o.look(dir, a); err != nil {
			l.t.Fatalf("new store %d, used: %v", i, err)
		}
		must(l.t, os.RemoveAll(dir))
	}
}

package txn

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// A backup works freely while nobody commits; beside commits it waits until its work is
// no more than its share of what the processors did, however many goroutines tell of it.
func TestBackupGivesWay(t *testing.T) {
	m, _, err := Open(t.TempDir(), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	commit := func() {
		t.Helper()
		if _, err := m.Update(context.Background(), func(tx *Tx) error {
			_, err := tx.CreateVolume(time.Now().String(), VolumeOptions{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	g := &giver{m: m}
	now := time.Now()
	g.wait(time.Millisecond, now)
	if wait := g.wait(time.Millisecond, now); wait != 0 {
		t.Errorf("nobody commits, and it waits %v", wait)
	}
	const work = 400 * time.Microsecond
	full := time.Duration(float64(work) / backupShare / float64(runtime.GOMAXPROCS(0)))
	for i := range 3 {
		commit()
		if wait, want := g.wait(work, now.Add(work)), time.Duration(i+1)*full-work; wait != want {
			t.Errorf("call %d: it waits %v, want %v", i, wait, want)
		}
	}
	commit()
	longest := time.Duration(float64(longestPiece) / backupShare / float64(runtime.GOMAXPROCS(0)))
	later := now.Add(time.Hour)
	if wait := g.wait(time.Minute, later); wait != longest-longestPiece {
		t.Errorf("a piece that was kept waiting itself: it waits %v", wait)
	}
}

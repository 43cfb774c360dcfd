//go:build bars

package bars

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// What is overwritten, and how it is checkpointed.
const (
	spacePages      = 16 << 10 // of 4 KiB: 64 MiB
	spaceTimes      = 10       // that much is written, in pages drawn at random
	spacePerCommit  = 16
	spaceCheckpoint = 4 << 20 // Options.CheckpointBytes, which counts payload a quarter
	spaceRatio      = 1.3     // the heap is at most that much larger than what is reachable
	spaceCycle      = 300     // commits in which all that comes also goes
)

// TestSpaceLevel: a volume is overwritten ten times at random, while forks, tags
// and holds come and go. The heap does not grow beyond what they reach, a part
// of it, and what is written between two checkpoints; and nothing leaks.
func TestSpaceLevel(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	run(t, "overwrite ten times", dir)

	b, err := os.ReadFile(dir + ".space")
	if err != nil {
		t.Fatal(err)
	}
	var payload, written, heap, reachable, worth float64
	if _, err := fmt.Sscan(string(b), &payload, &written, &heap, &reachable, &worth); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f MiB overwritten; the disk was given %.2f bytes for each; heap %.1f MiB, reachable %.1f MiB, %.1f MiB a checkpoint: %.2f times, and %.2f without a checkpoint's worth",
		payload/(1<<20), written/payload, heap/(1<<20), reachable/(1<<20), worth/(1<<20), heap/reachable, (heap-worth)/reachable)
	if heap > spaceRatio*reachable+worth {
		t.Errorf("the heap has %.0f bytes, the limit is %.0f", heap, spaceRatio*reachable+worth)
	}
	rep, err := recovery.Verify(ctx, vfs.OS(), dir, recovery.VerifyOptions{})
	if err != nil || !rep.Clean || rep.Slots.Leaked != 0 {
		t.Errorf("verify: %v, %+v", err, rep)
	}
}

// overwriteTenTimes keeps three tags, two forks and two holds of different ages.
func overwriteTenTimes(dir string) error {
	m, _, err := txn.Open(dir, txn.Options{Create: true, CheckpointBytes: spaceCheckpoint})
	if err != nil {
		return err
	}
	defer m.Close()
	w := &overwriter{m: m, rng: rand.New(rand.NewPCG(1, 2)), page: make([]byte, 4096)}
	if err := w.fill(); err != nil {
		return err
	}
	before, payload := bytesWritten(), m.Stats().PayloadBytes
	const commits = spaceTimes * spacePages / spacePerCommit
	var worth int64
	for n := range commits {
		if err := w.step(n); err != nil {
			return err
		}
		worth = max(worth, payloadWeight*m.Stats().SinceCheckpoint)
	}
	written, payload := bytesWritten()-before, m.Stats().PayloadBytes-payload
	heap := m.Stats().Pages.Heap.Bytes
	reachable, err := w.reachable(commits)
	if err != nil {
		return err
	}
	return os.WriteFile(dir+".space", fmt.Appendln(nil, payload, written, heap, reachable, worth), 0o644)
}

// payloadWeight is by how much Stats.SinceCheckpoint divides payload.
const payloadWeight = 4

// reachable goes on for a cycle and says how many bytes of the heap were used
// at most when all was collected that could be.
func (w *overwriter) reachable(from int) (most int64, err error) {
	for n := from; n < from+spaceCycle; n++ {
		if err := w.step(n); err != nil {
			return 0, err
		}
		if n%10 == 0 {
			if _, err := w.m.Collect(ctx); err != nil {
				return 0, err
			}
			most = max(most, w.m.Stats().Pages.Heap.Used)
		}
	}
	return most, nil
}

func (w *overwriter) step(n int) error {
	if err := errors.Join(w.commit(), w.comeAndGo(n)); err != nil {
		return fmt.Errorf("commit %d: %w", n, err)
	}
	return nil
}

// bytesWritten is what this process wrote, to whatever file.
func bytesWritten() (n uint64) {
	b, _ := os.ReadFile("/proc/self/io")
	for _, line := range strings.Split(string(b), "\n") {
		fmt.Sscanf(line, "wchar: %d", &n)
	}
	return n
}

type overwriter struct {
	m     *txn.Manager
	rng   *rand.Rand
	page  []byte
	forks []string
	holds []*txn.Tx
}

func (w *overwriter) update(f func(*txn.Tx) error) error {
	_, err := w.m.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, f)
	return err
}

func (w *overwriter) fill() error {
	return w.update(func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{})
		for no := uint64(0); err == nil && no < spacePages; no++ {
			err = v.WritePage(no, page(w.page, no))
		}
		return err
	})
}

func (w *overwriter) commit() error {
	return w.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		for i := 0; err == nil && i < spacePerCommit; i++ {
			err = v.WritePage(w.rng.Uint64N(spacePages), page(w.page, w.rng.Uint64()>>1))
		}
		return err
	})
}

// comeAndGo moves the tags, replaces the older fork and the older hold now and
// then.
func (w *overwriter) comeAndGo(n int) error {
	if n%100 == 0 {
		if err := w.tag(fmt.Sprint("tag", n/100%3)); err != nil {
			return err
		}
	}
	if n%150 == 0 {
		if err := w.fork(fmt.Sprint("fork", n)); err != nil {
			return err
		}
	}
	if n%70 == 0 {
		return w.hold()
	}
	return nil
}

func (w *overwriter) tag(name string) error {
	return w.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		return tx.SetTag(v, name, v)
	})
}

func (w *overwriter) fork(name string) error {
	w.forks = append(w.forks, name)
	return w.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		if _, err := tx.Fork(name, v); err != nil {
			return err
		}
		if len(w.forks) <= 2 {
			return nil
		}
		return tx.DeleteVolume(w.forks[len(w.forks)-3])
	})
}

func (w *overwriter) hold() error {
	tx, err := w.m.Begin(ctx, txn.TxOptions{ReadOnly: true, Timeout: time.Hour})
	if err != nil {
		return err
	}
	if w.holds = append(w.holds, tx); len(w.holds) > 2 {
		w.holds[0].Rollback()
		w.holds = w.holds[1:]
	}
	return nil
}

package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// life is a store at work.
type life struct {
	bay  bay
	disk *crashfs.FS
	seed uint64
	rec  *recorder
	last wal.LSN // of the last opening
	o    *opened

	patience time.Duration // with one transaction
	numbers  [4]request    // the last of each writer
}

func newLife(b bay, disk *crashfs.FS, seed uint64) *life {
	return &life{bay: b, disk: disk, seed: seed, rec: newRecorder(), patience: 20 * time.Second}
}

// step is a transaction under way, and what it does to a state.
type step struct {
	*txn.Tx
	r       *rand.Rand
	effects []effect
}

// errUndo ends a transaction on purpose.
var errUndo = errors.New("rolled back on purpose")

func (l *life) open() error {
	o, err := l.bay.open(l.disk)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	l.o, l.last = o, o.rep.Last
	l.rec.opened(l.last)
	l.rec.committed(l.last, l.disk.Ops(), nil)
	return nil
}

func (l *life) close() error {
	if err := l.o.close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// burst runs writers beside each other, n transactions each.
func (l *life) burst(writers, n int) error {
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(l.seed, uint64(l.disk.Ops())<<8|uint64(w)))
			for i := 0; i < n && errs[w] == nil; i++ {
				errs[w] = l.commit(w, r)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// commit runs one transaction of a kind of its own.
func (l *life) commit(w int, r *rand.Rand) error {
	if r.IntN(12) == 0 {
		return l.carry(w, r)
	}
	kind, o := kinds[r.IntN(len(kinds))], txn.TxOptions{}
	if r.IntN(6) == 0 {
		o.Durability = txn.Buffered
	}
	if r.IntN(20) == 0 {
		o.Metadata = randomBytes(r, 30<<10+r.IntN(30<<10)) // fills the log
	}
	if r.IntN(3) == 0 {
		l.number(w, &o)
	}
	if r.IntN(6) == 0 { // until the store is closed: a checkpoint writes what only it reaches
		if _, err := l.o.Hold(l.o.ctx(), txn.HoldOptions{Owner: "life"}); err != nil {
			return err
		}
	}
	return l.run(o, kind, fmt.Sprintf("%c", 'a'+w), r)
}

func (l *life) run(o txn.TxOptions, kind func(*step, string) error, own string, r *rand.Rand) error {
	return l.do(o, func(tx *txn.Tx) ([]effect, error) {
		s := &step{Tx: tx, r: r}
		err := kind(s, own)
		return s.effects, err
	})
}

// do runs one transaction and records its fate.
func (l *life) do(o txn.TxOptions, f func(*txn.Tx) ([]effect, error)) error {
	ctx, stop := context.WithTimeout(context.Background(), l.patience)
	defer stop()
	var effects []effect
	c, err := l.o.UpdateWith(ctx, o, func(tx *txn.Tx) (err error) {
		effects, err = f(tx)
		return err
	})
	return l.fate(o, c, err, effects)
}

// fate records what became of a transaction.
func (l *life) fate(o txn.TxOptions, c txn.Commit, err error, effects []effect) error {
	op := l.disk.Ops()
	switch unknown := (*txn.UnknownError)(nil); {
	case errors.Is(err, errUndo):
		return nil
	case errors.As(err, &unknown):
		l.rec.committed(unknown.LSN, -1, append([]effect{}, effects...)) // a request may be empty, and is logged all the same
		l.rec.requested(unknown.LSN, o)
		return err
	case err != nil:
		return err
	}
	if !c.Durable {
		op = -1
	}
	if !c.Empty {
		l.rec.committed(c.Position.LSN, op, append([]effect{}, effects...))
		l.rec.requested(c.Position.LSN, o)
	}
	return nil
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		x := r.Uint64()
		for j := i; j < min(n, i+8); j++ {
			b[j] = byte(x)
			x >>= 8
		}
	}
	return b
}

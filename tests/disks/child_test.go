//go:build disks

package disks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// What a child is told by its environment.
const (
	envStore = "QUIRE_DISKS_STORE" // directory; says that this is a child
	envAcks  = "QUIRE_DISKS_ACKS"  // file
	envLimit = "QUIRE_DISKS_LIMIT" // commits of each writer; 0 is no limit, and no survival of errors
	envFsize = "QUIRE_DISKS_FSIZE" // RLIMIT_FSIZE from opening on; 0 is none
)

// What a child says on its standard output, a line each.
const (
	saysOpening = "begin"
	saysOpen    = "open" // and the numbers it found
	saysFile    = "file" // one of the log, to be made to fail
	saysReady   = "ready"
	saysWrong   = "WRONG" // what must not be
	saysEnd     = "end"   // how it went
)

// The test's binary is the child too.
func TestMain(m *testing.M) {
	if dir := os.Getenv(envStore); dir != "" {
		c := &child{dir: dir}
		fmt.Sscan(os.Getenv(envLimit), &c.limit)
		fmt.Sscan(os.Getenv(envFsize), &c.fsize)
		if err := c.work(); err != nil {
			fmt.Println(saysEnd, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// options make everything happen often: checkpoints, new files of the log,
// stages on the disk.
func options() txn.Options {
	return txn.Options{
		Create: true, CheckpointBytes: 1 << 20, GenerationBytes: wal.MinGenerationBytes,
		StageBytes: 256 << 10, SyncEvery: 20 * time.Millisecond,
	}
}

// child is a process that commits until it is killed, or so many times.
type child struct {
	dir   string
	limit int
	fsize uint64

	m    *txn.Manager
	acks *os.File

	mu       sync.Mutex
	done     numbers // acknowledged
	ordinary int     // commits that failed and left the store as it was
}

func (c *child) work() (err error) {
	fmt.Println(saysOpening)
	o := options()
	if c.fsize > 0 {
		o.InlineBytes = 512 << 10 // so that it is the log that meets the limit
	}
	if c.m, _, err = txn.Open(c.dir, o); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if c.acks, err = os.OpenFile(os.Getenv(envAcks), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return errors.Join(fmt.Errorf("begin: %w", err), c.m.Close())
	}
	fmt.Println(saysOpen, c.done)
	if c.limit > 0 {
		if err := c.invite(); err != nil {
			return err
		}
	}
	go func() { // whoever gives orders is gone
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	c.commits()
	if c.limit == 0 {
		return fmt.Errorf("poisoned: %q", c.m.Stats().Poisoned)
	}
	return c.aftermath()
}

// begin makes the volumes, if they are not there, and finds how far they are.
func (c *child) begin() error {
	_, err := c.m.Update(context.Background(), func(tx *txn.Tx) error {
		if tx.LSN() < created {
			return create(tx)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.m.View(context.Background(), func(tx *txn.Tx) (err error) {
		_, c.done, err = read(opened{tx})
		return err
	})
}

// invite says where the log is and waits until something was done about it.
func (c *child) invite() error {
	files, err := filepath.Glob(filepath.Join(c.dir, "wal", "*", "*"))
	if err != nil {
		return err
	}
	for _, name := range files {
		fmt.Println(saysFile, name)
	}
	if c.fsize > 0 {
		signal.Ignore(syscall.SIGXFSZ) // so that the write is an error
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: c.fsize, Max: c.fsize}); err != nil {
			return err
		}
	}
	fmt.Println(saysReady)
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

// commits runs the writers, with a checkpoint now and then.
func (c *child) commits() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg, keeper sync.WaitGroup
	keeper.Go(func() {
		for ctx.Err() == nil {
			_ = c.m.Checkpoint(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(10+rand.IntN(60)) * time.Millisecond):
			}
		}
	})
	for w := range writers {
		wg.Go(func() { c.write(w) })
	}
	wg.Wait()
	cancel()
	keeper.Wait()
}

// write commits as one writer. A commit that failed and left nothing is tried
// again.
func (c *child) write(w int) {
	tries := 0
	for n := c.done[w] + 1; c.limit == 0 || tries < c.limit; tries++ {
		ok, err := c.commit(w, n)
		switch {
		case ok:
			n++
		case c.limit == 0, errors.Is(err, txn.ErrPoisoned), errors.Is(err, txn.ErrUnknownOutcome):
			return
		case !ordinary(err):
			fmt.Printf("%s an error of no known kind: %v\n", saysWrong, err)
			return
		default:
			c.mu.Lock()
			c.ordinary++
			c.mu.Unlock()
		}
	}
}

// ordinary reports whether an error is one that the disk returned.
func ordinary(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.EROFS)
}

// commit is commit n of a writer, which is noted if it is acknowledged. One in
// four does not wait for the disk.
func (c *child) commit(w, n int) (ok bool, err error) {
	o := txn.TxOptions{}
	if n%4 == 0 {
		o.Durability = txn.Buffered
	}
	got, err := c.m.UpdateWith(context.Background(), o, func(tx *txn.Tx) error { return stage(tx, w, n) })
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	c.done[w] = n
	c.mu.Unlock()
	return true, ack{w, n, got.Position.LSN, got.Durable}.note(c.acks)
}

// aftermath is what must hold behind a failure, while the store is still open:
// a poisoned store refuses every commit and checkpoint, and all of it is read.
func (c *child) aftermath() error {
	poisoned := c.m.Stats().Poisoned != ""
	for w := range writers {
		if !poisoned {
			break
		}
		if _, err := c.commit(w, c.done[w]+1); !errors.Is(err, txn.ErrPoisoned) {
			fmt.Printf("%s a commit of the poisoned store: %v\n", saysWrong, err)
		}
		if err := c.m.Checkpoint(context.Background()); !errors.Is(err, txn.ErrPoisoned) {
			fmt.Printf("%s a checkpoint of the poisoned store: %v\n", saysWrong, err)
		}
	}
	err := c.m.View(context.Background(), func(tx *txn.Tx) error {
		_, n, err := read(opened{tx})
		for w := range writers {
			if err == nil && n[w] < c.done[w] {
				err = fmt.Errorf("LOST: commit %d of writer %d: it is at %d", c.done[w], w, n[w])
			}
		}
		o := newOracle()
		o.advance(n)
		return errors.Join(err, o.compare(opened{tx}))
	})
	if err != nil {
		fmt.Printf("%s reading behind the failure: %v\n", saysWrong, err)
	}
	fmt.Println(saysEnd, "poisoned:", poisoned, "ordinary errors:", c.ordinary, "commits:", c.done, "closed:", c.m.Close())
	return nil
}

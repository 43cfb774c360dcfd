package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ProbePrefix begins the keys of the objects that Probe puts and deletes. What
// a probe leaves when it dies, one a day later removes.
const ProbePrefix = "probe/"

const (
	probeAge    = 24 * time.Hour
	probeRacers = 4 // that put one key at the same time
	probeBytes  = 1000
)

// Probe tries whether a store does what a Store must, before anything is trusted
// to it: that of several Puts at once one wins, that one more is refused, and that
// the bytes of the first come back, whole and in parts. A store that does not is
// ErrUnfit, in an *Error that names it and says what it did. An error without
// ErrUnfit, of the network for example, says nothing about the store.
//
// It puts and deletes one object of probeBytes bytes, with about a dozen calls.
func Probe(ctx context.Context, store Store, now time.Time) error {
	id, err := uuid.NewRandom()
	if err != nil {
		return err
	}
	p := probe{Store: store, ctx: ctx, key: ProbePrefix + tempName(now, id)}
	if err := p.run(); err != nil {
		return err
	}
	return p.removeOld(now)
}

type probe struct {
	Store
	ctx context.Context
	key string
}

func (p *probe) unfit(format string, args ...any) error {
	did := fmt.Sprintf(format, args...)
	return &Error{Call: "probe", Store: p.String(), Key: p.key, Err: fmt.Errorf("%w: %s", ErrUnfit, did)}
}

func (p *probe) run() error {
	if err := p.isAbsent("an object that nobody put is there"); err != nil {
		return err
	}
	body, err := p.race()
	if err != nil {
		return err
	}
	if err := p.check(body); err != nil {
		return err
	}
	if err := p.Delete(p.ctx, p.key); err != nil {
		return err
	}
	return p.isAbsent("an object that was deleted is there")
}

func (p *probe) isAbsent(otherwise string) error {
	r, _, err := p.Get(p.ctx, p.key, 0, 1)
	switch {
	case err == nil:
		return errors.Join(p.unfit("%s", otherwise), r.Close())
	case errors.Is(err, ErrNotFound):
		return nil
	}
	return err
}

// body is what racer i puts: no two have a byte in common at any place.
func body(i int) []byte {
	b := make([]byte, probeBytes)
	for at := range b {
		b[at] = byte(at%50*5 + i)
	}
	return b
}

// race puts the key several times at once and returns the winner's bytes.
func (p *probe) race() ([]byte, error) {
	answers := make(chan error, probeRacers)
	winner := make(chan int, probeRacers)
	for i := range probeRacers {
		go func() {
			err := p.Put(p.ctx, p.key, Bytes(body(i)))
			if err == nil {
				winner <- i
			}
			answers <- err
		}()
	}
	var failed error
	for range probeRacers {
		if err := <-answers; err != nil && !errors.Is(err, ErrExists) {
			failed = err
		}
	}
	switch {
	case len(winner) > 1:
		return nil, p.unfit("of %d puts of one key at the same time %d succeeded: two writers would overwrite each other",
			probeRacers, len(winner))
	case failed != nil:
		return nil, failed
	case len(winner) == 0:
		return nil, p.unfit("it says that an object exists which nobody put")
	}
	return body(<-winner), nil
}

// check puts once more and compares what is there with the winner's bytes.
func (p *probe) check(want []byte) error {
	err := p.Put(p.ctx, p.key, Bytes(body(probeRacers)))
	if err == nil {
		return p.unfit("it put a key that exists: archives would be overwritten")
	}
	if !errors.Is(err, ErrExists) {
		return err
	}
	for _, r := range []struct{ off, n int64 }{{0, -1}, {0, 1}, {300, 400}, {probeBytes - 1, 10}, {probeBytes, -1}} {
		if err := p.compare(want, r.off, r.n); err != nil {
			return err
		}
	}
	return p.isListed()
}

func (p *probe) compare(want []byte, off, n int64) error {
	end := int64(len(want))
	if n >= 0 {
		end = min(end, off+n)
	}
	r, size, err := p.Get(p.ctx, p.key, off, n)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(io.LimitReader(r, probeBytes+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if size != int64(len(want)) || !bytes.Equal(got, want[off:end]) {
		return p.unfit("bytes %d to %d of an object of %d are not those that were put", off, end, len(want))
	}
	return nil
}

func (p *probe) isListed() error {
	listed := 0
	for item, err := range p.List(p.ctx, p.key) {
		if err != nil {
			return err
		}
		if item != (Item{Key: p.key, Size: probeBytes}) {
			return p.unfit("its list of %q has %q of %d bytes", p.key, item.Key, item.Size)
		}
		listed++
	}
	if listed != 1 {
		return p.unfit("its list has an object %d times", listed)
	}
	return nil
}

// removeOld deletes what probes left that died.
func (p *probe) removeOld(now time.Time) error {
	for item, err := range p.List(p.ctx, ProbePrefix) {
		if err != nil {
			return err
		}
		begun, ok := begunAt(strings.TrimPrefix(item.Key, ProbePrefix))
		if !ok || now.Sub(begun) < probeAge {
			continue
		}
		if err := p.Delete(p.ctx, item.Key); err != nil {
			return err
		}
	}
	return nil
}

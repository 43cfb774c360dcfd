package pins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// ErrPinned: somebody uses the archive.
var ErrPinned = errors.New("the archive is in use")

// PinnedError says who uses an archive. Nothing was deleted.
type PinnedError struct{ By []Seen }

func (e *PinnedError) Error() string {
	var who []string
	var last time.Time
	for _, s := range e.By {
		who = append(who, s.String())
		if end := s.counts(); end.After(last) {
			last = end
		}
	}
	return fmt.Sprintf("pins: %v: %s; nothing was deleted: come again when they are done, or if they have died, at %s",
		ErrPinned, strings.Join(who, "; "), last.Format(time.RFC3339))
}

// Is makes every PinnedError an ErrPinned.
func (e *PinnedError) Is(target error) bool { return target == ErrPinned }

// Seen is a pin in an archive.
type Seen struct {
	Key    archive.Key
	Kind   Kind   // zero when it cannot be read: perhaps both
	Holder string // what and who it is, for people
}

// Ends is when it does, unless it is renewed.
func (s Seen) Ends() time.Time { return time.UnixMilli(s.Key.Expires) }

// Live reports whether it is to be believed.
func (s Seen) Live(now time.Time) bool { return !now.After(s.Ends().Add(Slack)) }

// counts is until when others heed it if it is not renewed, in seconds, rounded up: who
// comes back then does not come too early.
func (s Seen) counts() time.Time {
	return s.Ends().Add(Slack + time.Second).UTC().Truncate(time.Second)
}

func (s Seen) String() string {
	return fmt.Sprintf("%s (%s, counts until %s unless it is renewed)", s.Holder, s.Key, s.counts().Format(time.RFC3339))
}

// is reports whether it may be of a kind.
func (s Seen) is(k Kind) bool { return s.Kind == k || s.Kind == 0 }

// List is the pins of an archive that are live, one for each holder, and the keys of those
// that are not.
func List(ctx context.Context, store objects.Store, now time.Time) (live []Seen, expired []archive.Key, err error) {
	newest := map[uuid.UUID]archive.Key{}
	for item, err := range store.List(ctx, archive.PinPrefix) {
		if err != nil {
			return nil, nil, fmt.Errorf("pins: list: %w", err)
		}
		k, err := archive.ParseKey(item.Key)
		if err != nil {
			continue // for whoever verifies the archive to report
		}
		if !(Seen{Key: k}).Live(now) {
			expired = append(expired, k)
		} else if k.Expires > newest[k.ID].Expires {
			newest[k.ID] = k
		}
	}
	for _, k := range newest {
		s, err := read(ctx, store, k)
		if err != nil {
			return nil, nil, err
		}
		live = append(live, s)
	}
	slices.SortFunc(live, func(a, b Seen) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return live, expired, nil
}

// read reads a pin. One that is damaged, or was deleted since it was listed and so may have
// been renewed, is there, of an unknown kind.
func read(ctx context.Context, store objects.Store, k archive.Key) (s Seen, err error) {
	s = Seen{Key: k, Holder: "somebody"}
	b, err := archive.ReadObject(ctx, store, k, maxBytes)
	if errors.Is(err, objects.ErrNotFound) || errors.Is(err, wal.ErrCorrupt) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("pins: read %s: %w", k, err)
	}
	if kind, holder, err := decode(k.String(), b); err == nil {
		s.Kind, s.Holder = kind, holder
	}
	return s, nil
}

// Others are the live pins of others.
func (p *Pin) Others(ctx context.Context) (live []Seen, err error) {
	live, _, err = List(ctx, p.store, p.o.Now())
	return slices.DeleteFunc(live, func(s Seen) bool { return s.Key.ID == p.id }), err
}

// HoldAndAwait puts a pin, for what deletes nothing and needs all that it lists, and waits
// until no prune is at work. Errors: Hold's and Await's; no pin is held then.
func HoldAndAwait(ctx context.Context, store objects.Store, o Options) (*Pin, error) {
	p, err := Hold(ctx, store, o)
	if err != nil {
		return nil, err
	}
	if err := p.Await(ctx); err != nil {
		_ = p.Release(ctx) // else it ends by itself
		return nil, err
	}
	return p, nil
}

// lookEvery is how often Await looks.
const lookEvery = time.Second

// Await waits until no prune is at work, TTL and Slack at most if that one died. A pin that is
// to end later than one ends that was put now was put by a clock which is far ahead, or by
// no Quire: if it is not renewed for TTL and Slack, a PinnedError names it.
func (p *Pin) Await(ctx context.Context) error {
	if p == nil {
		return nil
	}
	var far []Seen // of the last look
	var since time.Time
	for {
		others, err := p.Others(ctx)
		if err != nil {
			return err
		}
		prunes := slices.DeleteFunc(others, func(s Seen) bool { return !s.is(Prune) })
		if len(prunes) == 0 {
			return nil
		}
		now := p.o.Now()
		prunes = slices.DeleteFunc(prunes, func(s Seen) bool { return !s.Ends().After(now.Add(p.o.TTL + Slack)) })
		switch {
		case len(prunes) == 0, !slices.Equal(prunes, far):
			far, since = prunes, now
		case now.Sub(since) > p.o.TTL+Slack:
			return fmt.Errorf("pins: none of these was renewed for %v, and their ends are far: delete them if their holders are gone: %w", p.o.TTL+Slack, &PinnedError{By: far})
		}
		if err := p.o.Sleep(ctx, lookEvery); err != nil {
			return fmt.Errorf("pins: while a prune was at work: %w", err)
		}
	}
}

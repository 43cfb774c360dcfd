package pins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
)

// Slack is how long behind its end a pin is still believed: how far clocks may be apart,
// with the time that a put takes.
const Slack = 5 * time.Minute

// ErrLapsed: a pin could not be renewed in time. Whoever deletes may not have known of
// its holder.
var ErrLapsed = errors.New("the pin in the archive has lapsed")

// Options of Hold. The zero value is the default throughout.
type Options struct {
	Kind   Kind          // Use when zero
	Holder string        // what is at work, for people; the machine's name and the process are added
	TTL    time.Duration // 5 minutes when zero
	Now    func() time.Time
	// Sleep waits, and returns ctx's error when that ends first: for real time when nil.
	Sleep func(ctx context.Context, d time.Duration) error
}

func (o Options) withDefaults() Options {
	if o.Kind == 0 {
		o.Kind = Use
	}
	if o.TTL <= 0 {
		o.TTL = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = objects.Sleep
	}
	host, _ := os.Hostname() // for people
	o.Holder = fmt.Sprintf("%s on %s, process %d", o.Holder, host, os.Getpid())
	return o
}

// Pin is held until Release. A nil one holds nothing, and all its methods but Others
// work.
type Pin struct {
	store objects.Store
	o     Options
	id    uuid.UUID
	body  []byte
	stop  context.CancelFunc
	done  chan struct{}

	mu   sync.Mutex
	keys []archive.Key // mu; that may be there
	last archive.Key   // mu; the last that is known to be there
	ends time.Time     // mu; its end

	lapsed bool // mu; it was renewed too late
}

// Hold puts a pin, and renews it until Release. It takes a minute at most.
// Errors: those of store, of a place that cannot be written to, too.
func Hold(ctx context.Context, store objects.Store, o Options) (*Pin, error) {
	o = o.withDefaults()
	store, err := objects.Retrying(store, objects.RetryOptions{Tries: tries, Sleep: o.Sleep})
	if err != nil {
		return nil, err
	}
	p := &Pin{store: store, o: o, id: uuid.New(), body: encode(o.Kind, o.Holder), done: make(chan struct{})}
	if err := p.renew(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("pins: pin %s: %w", store, err), p.remove(ctx))
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	go p.keep(ctx)
	return p, nil
}

// keep renews until ctx ends. What fails is tried again, also when the pin has lapsed.
func (p *Pin) keep(ctx context.Context) {
	defer close(p.done)
	for p.o.Sleep(ctx, p.o.TTL/3) == nil {
		_ = p.renew(ctx) // Err says how long that may go on
	}
}

// callTime is how long a call, or a few of them, may take.
const callTime = time.Minute

// renew puts the pin with a later end, and deletes those that were put before the last
// one. That stays: a list that is made meanwhile need not have what is put or deleted
// meanwhile, and must have one of the two.
func (p *Pin) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	ends := p.o.Now().Add(p.o.TTL)
	key := archive.Key{Kind: archive.KindPin, Expires: ends.UnixMilli(), ID: p.id}
	p.add(key)
	err := p.store.Put(ctx, key.String(), objects.Bytes(p.body))
	if err != nil && !errors.Is(err, objects.ErrExists) { // the UUID is ours
		return err
	}
	for _, k := range p.older(key, ends) {
		if err := p.store.Delete(ctx, k.String()); err == nil { // else it ends by itself, or Release does it
			p.drop(k)
		}
	}
	return nil
}

// add notes a key that may be there from now on.
func (p *Pin) add(key archive.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.keys, key) {
		p.keys = append(p.keys, key)
	}
}

// older notes that the pin with a key is there, and returns the keys of those before it
// but for the last that was there, too.
func (p *Pin) older(key archive.Key, ends time.Time) []archive.Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key == p.last { // in the same millisecond
		return nil
	}
	if p.last.ID == key.ID && p.o.Now().After(p.ends) {
		p.lapsed = true
	}
	before := p.last
	p.last, p.ends = key, ends
	return slices.DeleteFunc(slices.Clone(p.keys), func(k archive.Key) bool { return k == key || k == before })
}

func (p *Pin) drop(key archive.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = slices.DeleteFunc(p.keys, func(k archive.Key) bool { return k == key })
}

// tries of a call, also of one that store would try for longer: who cannot write to a place
// goes on without a pin, and is to know soon.
const tries = 4

// Err is nil as long as everybody has respected the pin without a break, ErrLapsed from
// then on, and nil for a nil one, which nobody ever did.
func (p *Pin) Err() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lapsed || p.o.Now().After(p.ends) {
		return fmt.Errorf("pins: %w: it could not be renewed in time; nothing is damaged, begin anew", ErrLapsed)
	}
	return nil
}

// Release takes the pin away, also when ctx has ended. What it cannot delete ends by
// itself, so that the error is for the curious.
func (p *Pin) Release(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.stop()
	<-p.done
	return p.remove(ctx)
}

func (p *Pin) remove(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	p.mu.Lock()
	keys := p.keys
	p.keys = nil
	p.mu.Unlock()
	for _, k := range keys {
		err = errors.Join(err, p.store.Delete(ctx, k.String()))
	}
	return err
}

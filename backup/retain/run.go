package retain

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
)

// Run deletes from an archive what a policy does not keep. Errors: Plan's,
// pins.ErrPinned when somebody uses the archive: nothing was deleted; pins.ErrLapsed and the
// store's: what was deleted is what the plan says, the next run deletes the rest.
func Run(ctx context.Context, store objects.Store, policy Policy, o Options) (*Planned, error) {
	o = o.withDefaults()
	plan, err := run(ctx, store, policy, o)
	if err != nil {
		return nil, fmt.Errorf("retain: prune %s: %w", store, err)
	}
	return plan, nil
}

func run(ctx context.Context, store objects.Store, policy Policy, o Options) (*Planned, error) {
	calm, err := newPlace(store, o.Retry)
	if err != nil {
		return nil, err
	}
	plan, err := makePlan(ctx, calm, policy, o, nil)
	if err != nil {
		return nil, err
	}
	if len(plan.out.Merged) == 0 {
		return prune(ctx, store, calm, plan, policy, o)
	}
	merged, failures, err := o.Merge.all(ctx, store, plan.out.Merged, o)
	if err != nil {
		return nil, err
	}
	if plan, err = makePlan(ctx, calm, policy, o, nil); err != nil {
		return nil, err
	}
	out, err := prune(ctx, store, calm, plan, policy, o)
	if err != nil {
		return nil, err
	}
	out.Merged, out.Problems = merged, append(out.Problems, failures...)
	return out, nil
}

// prune deletes what a plan, made anew, says.
func prune(ctx context.Context, store objects.Store, calm place, plan *planner, policy Policy, o Options) (*Planned, error) {
	if plan.out.Gone.Objects == 0 {
		plan.out.Done = true
		return &plan.out, nil
	}
	o.Pin.Kind, o.Pin.Holder = pins.Prune, "prune"
	pin, err := pins.Hold(ctx, store, o.Pin)
	if err != nil {
		return nil, err
	}
	defer func() { _ = pin.Release(ctx) }() // else it ends by itself
	others, err := pin.Others(ctx)
	if err == nil && len(others) > 0 {
		err = &pins.PinnedError{By: others}
	}
	if err != nil {
		return nil, err
	}
	// From here on nobody else is at work who could not bear it.
	before := map[archive.Key]bool{}
	for _, part := range plan.work.parts {
		before[part.Key] = true
	}
	if plan, err = makePlan(ctx, calm, policy, o, before); err != nil {
		return nil, err
	}
	p := &pruner{plan: plan, store: calm, pin: pin, progress: o.Progress}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	plan.out.Done = true
	return &plan.out, nil
}

// pruner does what a plan says.
type pruner struct {
	plan     *planner
	store    place
	pin      *pins.Pin
	progress func(done, of int)
	done     atomic.Int64
}

// run is the walk of package retain's table.
func (p *pruner) run(ctx context.Context) error {
	w := &p.plan.work
	err := each(ctx, w.confirm, p.confirm)
	if err == nil {
		err = each(ctx, w.notes, func(ctx context.Context, _ int, k archive.Key) error {
			return p.store.confirm(ctx, k, archive.EncodeNote(k))
		})
	}
	for _, o := range w.manifests { // one after the other: what is based on another goes first
		if err == nil {
			err = p.delete(ctx, 0, o)
		}
	}
	for _, list := range w.gone()[1:] {
		if err == nil {
			err = each(ctx, list, p.delete)
		}
	}
	return err
}

// confirm makes sure that a snapshot stays for which others go.
func (p *pruner) confirm(ctx context.Context, _ int, s *snap) error {
	if err := p.pin.Err(); err != nil {
		return err
	}
	b, err := archive.ReadObject(ctx, p.store, s.Key, maxManifest)
	if err != nil {
		return err
	}
	if h, err := archive.DecodeHeader(s.Key, int64(len(b)), b); err != nil || h != s.header {
		return errors.Join(fmt.Errorf("%s has changed; nothing was deleted", s.Key), err)
	}
	return p.store.confirm(ctx, s.Key, b)
}

// delete deletes an object, if nobody can have missed that.
func (p *pruner) delete(ctx context.Context, _ int, o object) error {
	if err := p.pin.Err(); err != nil {
		return err
	}
	err := p.store.Delete(ctx, o.Key.String())
	if err == nil && p.progress != nil {
		p.progress(int(p.done.Add(1)), p.plan.out.Gone.Objects)
	}
	return err
}

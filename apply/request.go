package apply

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// admit gets the draft ready to record what became of the request that an
// entry commits, if it is one. A request that is not new here was committed, or
// given up, before: the entry does not fit.
func admit(d *pagestore.Draft, e *wal.Entry) error {
	if e.Seq == 0 {
		return nil
	}
	r, err := d.Request(e.Actor, e.Seq)
	if err != nil {
		return fmt.Errorf("apply: entry %d: request %d of actor %s: %w", e.First, e.Seq, e.Actor, err)
	}
	if r.Status != pagestore.RequestNew {
		return &MismatchError{LSN: e.First, What: fmt.Sprintf("request %d of actor %s", e.Seq, e.Actor),
			Want: pagestore.RequestNew.String(), Got: r.Status.String()}
	}
	if err := d.Admit(e.Actor, e.Seq); err != nil {
		return fmt.Errorf("apply: entry %d: %w", e.First, err)
	}
	return nil
}

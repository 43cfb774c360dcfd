package txn

import (
	"cmp"
	"slices"
	"time"

	"github.com/quire-db/quire/wal"
)

// HoldKind says what sort of thing keeps old tips. More may come.
type HoldKind string

// The kinds of holds.
const (
	HoldTransaction HoldKind = "transaction" // begun, and not ended
	HoldHold        HoldKind = "hold"        // made by Manager.Hold
	HoldConsumer    HoldKind = "consumer"    // keeps log, and the images that it names, behind its position
)

// HoldInfo is one of those who keep old tips.
type HoldInfo struct {
	Kind    HoldKind
	Owner   string    // a transaction's ID, a consumer's name, or as HoldOptions says
	Reason  string    // for people: a transaction's message, or as HoldOptions says
	LSN     wal.LSN   // that it reads; of a consumer, what it has acknowledged
	Since   time.Time // zero if that is not known
	Expires time.Time // zero if it does not

	// KeptBytes would be free without it. Of those that hold one LSN together each
	// has the same bytes. What two LSNs keep is in neither's, but in the total.
	// What the last checkpoint reaches counts for nobody: so it is zero at first,
	// and rises with the checkpoints behind which something is overwritten.
	KeptBytes uint64
}

// HoldsReport is what keeps old tips at one time.
type HoldsReport struct {
	Holds []HoldInfo // by LSN, the oldest first
	// KeptBytes is what transactions and holds together keep in the heap that
	// would be free without. Consumers' are their own.
	KeptBytes uint64
}

// Holds lists all who keep old tips, or the log. Cost: those listed, and what
// they keep, but not slot by slot; no commit waits for it.
func (m *Manager) Holds() HoldsReport {
	list := m.holds.infos()
	for _, tx := range m.open.all() {
		list = append(list, HoldInfo{
			Kind: HoldTransaction, Owner: tx.id.String(), Reason: tx.opts.Message,
			LSN: tx.LSN(), Since: tx.began, Expires: tx.deadline,
		})
	}
	kept := m.store.Kept()
	for i := range list {
		list[i].KeptBytes = kept.By[list[i].LSN]
	}
	for _, c := range m.Consumers() {
		if !c.Dropped {
			list = append(list, HoldInfo{Kind: HoldConsumer, Owner: c.Name, LSN: c.Acked.LSN, KeptBytes: c.Kept})
		}
	}
	slices.SortFunc(list, func(a, b HoldInfo) int {
		return cmp.Or(cmp.Compare(a.LSN, b.LSN), a.Since.Compare(b.Since), cmp.Compare(a.Owner, b.Owner))
	})
	return HoldsReport{Holds: list, KeptBytes: kept.Total}
}

func (t *holdTable) infos() (list []HoldInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.list {
		list = append(list, HoldInfo{
			Kind: HoldHold, Owner: h.opts.Owner, Reason: h.opts.Reason, LSN: h.lsn, Since: h.made, Expires: h.deadline,
		})
	}
	return list
}

package txn

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/quire-db/quire/wal"
)

// The file HOLDS in a store's directory tells other processes what the one that
// has the store open holds. It is a notice and no part of the store's state:
// nothing but ReadHolds reads it, it is never synced, and whoever opens the store
// removes what is left of it. One JSON object:
//
//	field       type     meaning
//	version     integer  1
//	owner       string   who wrote it, as in LOCK; of no worth if LOCK says otherwise
//	written     string   when, RFC 3339
//	total       integer  how many hold, listed or not
//	kept_bytes  integer  what they keep together, see HoldsReport
//	holds       array    the oldest by LSN, at most 1,000, of objects:
//	  kind        string   HoldTransaction or HoldHold; others may come
//	  owner       string
//	  reason      string
//	  lsn         integer
//	  since       string   RFC 3339; left out if not known
//	  expires     string   the same; left out if it does not
//	  kept_bytes  integer
//
// It is valid if and only if it is such an object, of at most 4 MiB, with a
// version of 1 and at most 1,000 holds, each with a kind and an LSN, and a total of
// no fewer. Other fields are ignored. A newer version is refused with
// wal.ErrVersion.
const (
	holdsVersion  = 1
	maxListed     = 1000
	maxHoldsBytes = 4 << 20
)

// HoldsNotice is what the process that has a store open says of its holds.
type HoldsNotice struct {
	Written   time.Time
	Total     int        // how many hold
	KeptBytes uint64     // see HoldsReport
	Holds     []HoldInfo // the oldest, at most 1,000
}

type noticeJSON struct {
	Version   int              `json:"version"`
	Owner     string           `json:"owner"`
	Written   time.Time        `json:"written"`
	Total     int              `json:"total"`
	KeptBytes uint64           `json:"kept_bytes"`
	Holds     []noticeHoldJSON `json:"holds"`
}

type noticeHoldJSON struct {
	Kind      HoldKind  `json:"kind"`
	Owner     string    `json:"owner"`
	Reason    string    `json:"reason"`
	LSN       wal.LSN   `json:"lsn"`
	Since     time.Time `json:"since,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
	KeptBytes uint64    `json:"kept_bytes"`
}

func encodeNotice(owner string, n HoldsNotice) ([]byte, error) {
	out := noticeJSON{
		Version: holdsVersion, Owner: owner, Written: n.Written.UTC(), Total: n.Total, KeptBytes: n.KeptBytes,
		Holds: make([]noticeHoldJSON, len(n.Holds)),
	}
	for i, h := range n.Holds {
		h.Since, h.Expires = h.Since.UTC(), h.Expires.UTC()
		out.Holds[i] = noticeHoldJSON(h)
	}
	return json.Marshal(out)
}

func decodeNotice(b []byte) (owner string, n HoldsNotice, err error) {
	var in noticeJSON
	if len(b) > maxHoldsBytes {
		return "", n, fmt.Errorf("%d bytes, at most %d", len(b), maxHoldsBytes)
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return "", n, err
	}
	switch {
	case in.Version > holdsVersion:
		return "", n, fmt.Errorf("version %d, this program reads %d: %w", in.Version, holdsVersion, wal.ErrVersion)
	case in.Version != holdsVersion || len(in.Holds) > maxListed || in.Total < len(in.Holds):
		return "", n, fmt.Errorf("version %d, %d holds of %d", in.Version, len(in.Holds), in.Total)
	}
	n = HoldsNotice{Written: in.Written, Total: in.Total, KeptBytes: in.KeptBytes}
	for _, h := range in.Holds {
		if h.Kind == "" || h.LSN == 0 {
			return "", HoldsNotice{}, fmt.Errorf("a hold of kind %q at LSN %d", h.Kind, h.LSN)
		}
		n.Holds = append(n.Holds, HoldInfo(h))
	}
	return in.Owner, n, nil
}

package pagestore

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/wal"
)

// The catalogue's records of actors: clients that number their requests (see
// requests.go). All are log facts. Integers are little-endian, in keys
// big-endian so that they sort.
//
//	key                            value
//	"a" actor UUID                 actor record
//	"o" actor UUID, place u16      outcome record
//	"q" LSN u64                    UUID of the actor whose last request that entry is
//	"k"                            summary record; absent before the first request
//
// Actor record:
//
//	offset  size  field
//	0       1     version, 1
//	1       8     seq of the last request that committed
//	9       8     number of requests that committed
//	17      8     LSN of the last
//
// Outcome record:
//
//	offset  size  field
//	0       1     version, 1
//	1       8     which of the actor's committed requests it is, from 1
//	9       8     seq
//	17      8     LSN
//	25      8     time, nanoseconds since 1970
//	33      16    timeline
//	49      32    entry hash
//	81      16    transaction
//	97      1     length of the request digest; 33: longer than 32 bytes
//	98      ..    request digest; its SHA-256 if it is longer than 32 bytes
//
// Summary record:
//
//	offset  size  field
//	0       1     version, 1
//	1       8     number of actors
//	9       16    the greatest UUID of an actor that was evicted; zero for none
//
// A record is valid if and only if
//
//  1. its version is 1; another is refused with wal.ErrVersion;
//  2. its length is exactly what the table and its fields say;
//  3. numbers, seqs and LSNs in it are not 0, and an outcome's place is (which
//     - 1) mod RequestWindow.
//
// Records are covered by the check of the node that holds them. What they must
// be among each other Snapshot.Check verifies.
const (
	keyActors     = "k"
	prefixActor   = "a"
	prefixOutcome = "o"
	prefixQueue   = "q"

	actorRecordSize    = 25
	outcomeRecordFixed = 98
	actorsRecordSize   = 25
)

func actorKey(id wal.ActorID) string { return prefixActor + string(id[:]) }

// outcomeKey is where the outcome of an actor's nth request lies: a ring.
func outcomeKey(id wal.ActorID, n uint64) string {
	k := append([]byte(prefixOutcome), id[:]...)
	return string(binary.BigEndian.AppendUint16(k, uint16((n-1)%RequestWindow)))
}

func queueKey(lsn wal.LSN) string {
	return string(binary.BigEndian.AppendUint64([]byte(prefixQueue), uint64(lsn)))
}

// RequestDigest is what is kept of the digest by which a client tells two
// requests of one number apart. Its zero value is that of requests without.
type RequestDigest struct {
	size  uint8 // of b, or longDigest
	bytes [sha256.Size]byte
}

const longDigest = sha256.Size + 1

// DigestRequest keeps up to 32 bytes as they are, of more their SHA-256.
func DigestRequest(b []byte) RequestDigest {
	if len(b) > sha256.Size {
		return RequestDigest{longDigest, sha256.Sum256(b)}
	}
	d := RequestDigest{size: uint8(len(b))}
	copy(d.bytes[:], b)
	return d
}

func (d *RequestDigest) stored() []byte { return d.bytes[:min(int(d.size), sha256.Size)] }

// actorRecord is what the catalogue keeps of an actor; zero for one it does
// not know.
type actorRecord struct {
	Last  uint64 // seq
	Count uint64
	LSN   wal.LSN
}

func (a actorRecord) encode() catalogue.Raw {
	b := append(make([]byte, 0, actorRecordSize), recordVersion)
	b = binary.LittleEndian.AppendUint64(b, a.Last)
	b = binary.LittleEndian.AppendUint64(b, a.Count)
	return binary.LittleEndian.AppendUint64(b, uint64(a.LSN))
}

func decodeActor(b []byte) (actorRecord, error) {
	if err := checkRecord(b, actorRecordSize, "actor"); err != nil {
		return actorRecord{}, err
	}
	a := actorRecord{
		Last:  binary.LittleEndian.Uint64(b[1:]),
		Count: binary.LittleEndian.Uint64(b[9:]),
		LSN:   wal.LSN(binary.LittleEndian.Uint64(b[17:])),
	}
	if len(b) != actorRecordSize || a.Last == 0 || a.Count == 0 || a.LSN == 0 {
		return actorRecord{}, badRecord("actor", "its length is wrong, or a number in it is 0")
	}
	return a, nil
}

// outcomeRecord is an Outcome in its place.
type outcomeRecord struct {
	Number uint64 // among the actor's, from 1
	Outcome
}

func (o *outcomeRecord) encode() catalogue.Raw {
	b := append(make([]byte, 0, outcomeRecordFixed+sha256.Size), recordVersion)
	for _, v := range []uint64{o.Number, o.Seq, uint64(o.Position.LSN), uint64(o.Time)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, o.Position.Timeline[:]...)
	b = append(b, o.Position.Hash[:]...)
	b = append(b, o.Txn[:]...)
	b = append(b, o.Digest.size)
	return append(b, o.Digest.stored()...)
}

func decodeOutcome(b []byte) (outcomeRecord, error) {
	if err := checkRecord(b, outcomeRecordFixed, "outcome"); err != nil {
		return outcomeRecord{}, err
	}
	o := outcomeRecord{Number: binary.LittleEndian.Uint64(b[1:]), Outcome: Outcome{
		Seq: binary.LittleEndian.Uint64(b[9:]),
		Txn: wal.TxnID(b[81:97]),
		Position: wal.Position{
			Timeline: wal.TimelineID(b[33:49]),
			LSN:      wal.LSN(binary.LittleEndian.Uint64(b[17:])),
			Hash:     wal.Hash(b[49:81]),
		},
		Time:   int64(binary.LittleEndian.Uint64(b[25:])),
		Digest: RequestDigest{size: b[97]},
	}}
	stored := o.Digest.stored()
	if b[97] > longDigest || len(b) != outcomeRecordFixed+len(stored) || o.Number == 0 || o.Seq == 0 || o.Position.LSN == 0 {
		return outcomeRecord{}, badRecord("outcome", "its lengths disagree, or a number in it is 0")
	}
	copy(stored, b[outcomeRecordFixed:])
	return o, nil
}

// actorsRecord sums up all actors.
type actorsRecord struct {
	Count   uint64
	Evicted wal.ActorID // the greatest; zero for none
}

func (a actorsRecord) encode() catalogue.Raw {
	b := append(make([]byte, 0, actorsRecordSize), recordVersion)
	b = binary.LittleEndian.AppendUint64(b, a.Count)
	return append(b, a.Evicted[:]...)
}

func decodeActors(b []byte) (actorsRecord, error) {
	if err := checkRecord(b, actorsRecordSize, "summary of actors"); err != nil {
		return actorsRecord{}, err
	}
	a := actorsRecord{Count: binary.LittleEndian.Uint64(b[1:]), Evicted: wal.ActorID(b[9:25])}
	if len(b) != actorsRecordSize || a.Count == 0 {
		return actorsRecord{}, badRecord("summary of actors", "its length is wrong, or it counts none")
	}
	return a, nil
}

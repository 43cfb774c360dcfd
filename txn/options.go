package txn

import (
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Options of a manager. The zero value is the documented default.
type Options struct {
	// Create makes the store when the directory holds none; without it a
	// missing store is an error.
	Create bool
	// Follower makes the store one that takes its entries from another store,
	// by Apply, and commits no transactions (follow.go). It stays one, however it is opened,
	// until Promote. A new one is empty: LSN 1 comes from the other store.
	Follower bool
	// Logger gets what an operator wants to know; silent by default. Page
	// bytes are never logged.
	Logger zerolog.Logger

	// CheckpointBytes is how much log, in bytes, and four times as much
	// payload beside it, is written between two checkpoints: 64 MiB when zero.
	// It bounds the log and the time that opening takes.
	CheckpointBytes int64
	// CheckpointEvery is the longest time between checkpoints of a store that
	// is written: 5 minutes when zero, never when negative.
	CheckpointEvery time.Duration
	// GenerationBytes is the size of a file of the log: 4 MiB when zero.
	GenerationBytes int64
	// InlineBytes is how much payload of a group of commits, in bytes, lies in
	// the log instead of in the heap: 8 KiB when zero.
	InlineBytes int
	// CacheBytes bounds the cache of tree nodes: 32 MiB when zero. When those of
	// the catalogue that were changed since the last checkpoint take about as much
	// again, and 4 MiB at least, the next begins: so when many volumes are changed.
	CacheBytes int64
	// StageBytes bounds the pages of one transaction in memory; what is beyond
	// is staged on disk: 4 MiB when zero. All together have 16 times as much.
	StageBytes int64
	// MaxTxBytes is the most that one transaction may write: 16 GiB when zero.
	MaxTxBytes int64
	// TxTimeout is the deadline of transactions that name none: 5 minutes when
	// zero. What is past its deadline is rolled back.
	TxTimeout time.Duration
	// HoldTTL is the deadline of holds that name none: 1 hour when zero. What is
	// past its deadline is released.
	HoldTTL time.Duration
	// MaxHolds is how many holds there may be at once: 16,384 when zero.
	MaxHolds int
	// SyncEvery bounds how long a buffered commit, or an entry applied to a
	// follower, is not durable: 100 ms when zero.
	SyncEvery time.Duration

	// ConsumerLagBytes bounds what is kept on the disk for one consumer, log and
	// heap together, in bytes: 1 GiB when zero. One for which more is kept is
	// dropped at the next checkpoint; so it is exceeded by what is written between
	// two checkpoints at most.
	ConsumerLagBytes int64

	// Archive has the log archived (archive.go). Without it nothing of that runs.
	Archive ArchiveOptions

	// FS is the disk and Now the clock; the real ones when nil. Random yields
	// UUIDs and nonces; crypto/rand when nil.
	FS     vfs.FS
	Now    func() time.Time
	Random io.Reader
}

func (o Options) withDefaults() (Options, error) {
	set := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.CheckpointBytes, 64<<20)
	set((*int64)(&o.CheckpointEvery), int64(5*time.Minute))
	set(&o.GenerationBytes, wal.DefaultGenerationBytes)
	set(&o.CacheBytes, 32<<20)
	set(&o.StageBytes, 4<<20)
	set(&o.MaxTxBytes, 16<<30)
	set(&o.ConsumerLagBytes, 1<<30)
	set((*int64)(&o.TxTimeout), int64(5*time.Minute))
	set((*int64)(&o.HoldTTL), int64(time.Hour))
	if o.MaxHolds == 0 {
		o.MaxHolds = 16 << 10
	}
	set((*int64)(&o.SyncEvery), int64(100*time.Millisecond))
	if o.InlineBytes == 0 {
		o.InlineBytes = 8 << 10
	}
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var err error
	if o.Archive, err = o.Archive.withDefaults(o.Now); err != nil {
		return o, err
	}
	switch {
	case o.CheckpointBytes < 0, o.CacheBytes < 0, o.StageBytes < 0, o.MaxTxBytes < 0, o.InlineBytes < 0, o.ConsumerLagBytes < 0, o.TxTimeout < 0, o.HoldTTL < 0, o.MaxHolds < 0, o.SyncEvery < 0:
		o.Archive = ArchiveOptions{} // it may have secrets
		return o, fmt.Errorf("txn: options: a bound is negative: %+v", o)
	case o.GenerationBytes < wal.MinGenerationBytes || o.GenerationBytes > maxGenerationBytes:
		return o, fmt.Errorf("txn: options: GenerationBytes is %d, from %d to %d", o.GenerationBytes, wal.MinGenerationBytes, maxGenerationBytes)
	case o.InlineBytes > 512<<10:
		return o, fmt.Errorf("txn: options: InlineBytes is %d, at most %d", o.InlineBytes, 512<<10)
	}
	return o, nil
}

// maxGenerationBytes bounds what is written ahead of the first commit.
const maxGenerationBytes = 1 << 30

// Isolation is what a transaction is protected from.
type Isolation uint8

const (
	// Serializable: everything read counts, also sizes, names and the absence
	// of pages; a transaction commits only if it is all still so.
	Serializable Isolation = iota
	// Snapshot: only what is written counts, and the first committer wins. A page
	// written or discarded, a size set and a name given must not have been
	// changed since the transaction began, and a volume that it writes must not
	// have been deleted or renamed. Volumes only read never conflict.
	Snapshot
)

// Durability is what Commit waits for.
type Durability uint8

const (
	// Synced: the commit, and all before it, survives a power cut.
	Synced Durability = iota
	// Buffered: the commit is ordered and never torn, and is synced within
	// Options.SyncEvery.
	Buffered
)

// TxOptions of one transaction. The zero value is a serializable, synced
// read-write transaction.
type TxOptions struct {
	ReadOnly   bool
	Isolation  Isolation
	Durability Durability
	// Timeout after which the transaction is rolled back; Options.TxTimeout
	// when zero. The deadline of the context counts too.
	Timeout time.Duration
	// Message says for people what the transaction is about; kept in the log.
	// At most 64 KiB.
	Message string
	// Metadata is the embedder's, kept in the log. At most 64 KiB.
	Metadata []byte

	// Actor and Seq name the request that the transaction is for: sent again, it
	// commits once (see request.go). Both or none; not for ReadOnly.
	Actor wal.ActorID // UUID of version 7, see NewActor
	Seq   uint64      // above those of the actor's earlier requests
	// RequestDigest tells another request that has the same Actor and Seq by
	// mistake. At most 64 KiB; nothing is compared but it.
	RequestDigest []byte
}

func (o TxOptions) validate() error {
	switch {
	case len(o.Message) > wal.MaxExtensionBytes || len(o.Metadata) > wal.MaxExtensionBytes:
		return fmt.Errorf("txn: message of %d or metadata of %d bytes, at most %d: %w",
			len(o.Message), len(o.Metadata), wal.MaxExtensionBytes, wal.ErrTooLarge)
	case o.Isolation > Snapshot, o.Durability > Buffered, o.Timeout < 0:
		return fmt.Errorf("txn: transaction options: isolation %d, durability %d, timeout %v: one of them does not exist", o.Isolation, o.Durability, o.Timeout)
	case o.Seq != 0 || o.Actor != wal.ActorID{} || len(o.RequestDigest) > 0:
		return o.validateRequest()
	}
	return nil
}

// VolumeOptions of a new volume.
type VolumeOptions struct {
	PageSize uint32 // bytes; a power of two from 512 to 65536, 4096 when zero
}

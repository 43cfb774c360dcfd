package archive

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// ErrKey is returned for a key that is none of this version's layout. Objects of
// such keys are somebody else's, or a newer Quire's.
var ErrKey = errors.New("not a key of an archive")

// Kind says which form a key has.
type Kind uint8

// Kinds of keys: the table at format.go, from top to bottom.
const (
	KindFormat Kind = iota + 1
	KindStart
	KindAppend
	KindPack
	KindFloor
	KindManifest
	KindPart
	KindBlob
	KindPin
	KindMark
	KindTrim
)

// KindSkip is no key's: it is what a sealed object says that lies by an append's key, and
// has no entries.
const KindSkip Kind = 255

// FormatKey is the key of FORMAT.
const FormatKey = "FORMAT"

// LogsPrefix, BlobPrefix and PinPrefix begin the keys of logs, blobs and pins.
const (
	LogsPrefix = "logs/"
	BlobPrefix = "blobs/"
	PinPrefix  = "pins/"
)

const (
	lsnDigits  = 20
	partDigits = 6
	msDigits   = 13

	maxPart = 1e6 - 1  // the most that partDigits can show
	maxMS   = 1e13 - 1 // in the year 2286
)

// Key is a key of an archive in its parts. Fields that its kind does not have are zero.
type Key struct {
	Kind    Kind
	Log     wal.TimelineID // start, append, pack, floor, manifest, part, mark, trim
	First   wal.LSN        // append, pack; others of a log but start: the LSN
	Last    wal.LSN        // pack
	ID      uuid.UUID      // part: of the attempt; blob, pin
	Number  uint32         // part, from 0; manifest of merged snapshots, from 1
	Expires int64          // pin, milliseconds since 1970
}

// LogPrefix begins all keys of a timeline's log.
func LogPrefix(log wal.TimelineID) string { return LogsPrefix + log.String() + "/" }

// KindPrefix begins the keys of one kind of a log: KindAppend, KindPack,
// KindFloor, KindMark or KindTrim. KindManifest and KindPart have one prefix, that of all snapshots.
func KindPrefix(log wal.TimelineID, kind Kind) string {
	dirs := map[Kind]string{KindAppend: "append/", KindPack: "pack/", KindFloor: "floor/", KindMark: "mark/", KindTrim: "trim/", KindManifest: "snap/", KindPart: "snap/"}
	return LogPrefix(log) + dirs[kind]
}

// String is the key's text. That of a Key that is not valid is not a key.
func (k Key) String() string {
	switch k.Kind {
	case KindFormat:
		return FormatKey
	case KindStart:
		return LogPrefix(k.Log) + "start"
	case KindAppend, KindFloor, KindMark, KindTrim:
		return KindPrefix(k.Log, k.Kind) + lsn(k.First)
	case KindPack:
		return KindPrefix(k.Log, k.Kind) + lsn(k.First) + "-" + lsn(k.Last)
	case KindManifest:
		if k.Number != 0 {
			return fmt.Sprintf("%s%s/merged/%0*d", KindPrefix(k.Log, k.Kind), lsn(k.First), partDigits, k.Number)
		}
		return KindPrefix(k.Log, k.Kind) + lsn(k.First) + "/manifest"
	case KindPart:
		return fmt.Sprintf("%s%s/part/%s-%0*d", KindPrefix(k.Log, k.Kind), lsn(k.First), k.ID, partDigits, k.Number)
	case KindBlob:
		return BlobPrefix + k.ID.String()
	case KindPin:
		return fmt.Sprintf("%s%0*d-%s", PinPrefix, msDigits, k.Expires, k.ID)
	}
	return ""
}

func lsn(n wal.LSN) string { return fmt.Sprintf("%0*d", lsnDigits, uint64(n)) }

// Check returns nil if the key is valid, otherwise an ErrKey that says why it
// is not.
func (k Key) Check() error {
	hasLog := k.Kind >= KindStart && k.Kind <= KindPart || k.Kind == KindMark || k.Kind == KindTrim
	hasLSN := hasLog && k.Kind != KindStart
	hasID := k.Kind >= KindPart && k.Kind <= KindPin
	switch {
	case k.Kind < KindFormat || k.Kind > KindTrim:
		return fmt.Errorf("archive: %w: kind %d", ErrKey, k.Kind)
	case hasLog != (k.Log != wal.TimelineID{}), hasLSN != (k.First != 0), hasID != (k.ID != uuid.Nil):
		return fmt.Errorf("archive: %w: log, LSN or UUID of %q", ErrKey, k)
	case k.Kind == KindPack && k.Last < k.First, k.Kind != KindPack && k.Last != 0:
		return fmt.Errorf("archive: %w: last LSN of %q", ErrKey, k)
	case k.Number > maxPart, k.Kind != KindPart && k.Kind != KindManifest && k.Number != 0:
		return fmt.Errorf("archive: %w: number of %q", ErrKey, k)
	case k.Expires < 0 || k.Expires > maxMS, k.Kind != KindPin && k.Expires != 0:
		return fmt.Errorf("archive: %w: expiry of %q", ErrKey, k)
	}
	return nil
}

// ParseKey is the inverse of Key.String for valid keys; all else is ErrKey.
func ParseKey(s string) (Key, error) {
	if len(s) <= objects.MaxKey {
		// Whatever parse is too lenient about shows here.
		if k := parse(s); k.Check() == nil && k.String() == s {
			return k, nil
		}
	}
	return Key{}, fmt.Errorf("archive: %w: %.*q", ErrKey, objects.MaxKey, s)
}

// parse takes a key apart. What is wrong with one it leaves zero.
func parse(s string) Key {
	if rest, ok := strings.CutPrefix(s, LogsPrefix); ok {
		id, rest, _ := strings.Cut(rest, "/")
		k := parseLog(rest)
		k.Log = wal.TimelineID(parseID(id))
		return k
	}
	if rest, ok := strings.CutPrefix(s, BlobPrefix); ok {
		return Key{Kind: KindBlob, ID: parseID(rest)}
	}
	if rest, ok := strings.CutPrefix(s, PinPrefix); ok {
		ms, id, _ := strings.Cut(rest, "-")
		return Key{Kind: KindPin, Expires: int64(parseNumber(ms)), ID: parseID(id)}
	}
	if s == FormatKey {
		return Key{Kind: KindFormat}
	}
	return Key{}
}

// parseLog takes apart what follows a log's prefix.
func parseLog(s string) Key {
	dir, name, _ := strings.Cut(s, "/")
	switch dir {
	case "start":
		return Key{Kind: KindStart}
	case "append":
		return Key{Kind: KindAppend, First: parseLSN(name)}
	case "floor":
		return Key{Kind: KindFloor, First: parseLSN(name)}
	case "mark":
		return Key{Kind: KindMark, First: parseLSN(name)}
	case "trim":
		return Key{Kind: KindTrim, First: parseLSN(name)}
	case "pack":
		first, last, _ := strings.Cut(name, "-")
		return Key{Kind: KindPack, First: parseLSN(first), Last: parseLSN(last)}
	case "snap":
		return parseSnap(name)
	}
	return Key{}
}

func parseSnap(s string) Key {
	at, name, _ := strings.Cut(s, "/")
	if name == "manifest" {
		return Key{Kind: KindManifest, First: parseLSN(at)}
	}
	if number, ok := strings.CutPrefix(name, "merged/"); ok {
		return Key{Kind: KindManifest, First: parseLSN(at), Number: uint32(min(parseNumber(number), maxPart))}
	}
	part, _ := strings.CutPrefix(name, "part/")
	dash := max(0, strings.LastIndexByte(part, '-'))
	number := uint32(min(parseNumber(strings.TrimPrefix(part[dash:], "-")), maxPart))
	return Key{Kind: KindPart, First: parseLSN(at), ID: parseID(part[:dash]), Number: number}
}

func parseLSN(s string) wal.LSN { return wal.LSN(parseNumber(s)) }

// parseNumber is 0 for what is no number.
func parseNumber(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// parseID is zero for what is no UUID.
func parseID(s string) uuid.UUID {
	id, err := uuid.Parse(s)
	if err != nil {
		return uuid.Nil
	}
	return id
}

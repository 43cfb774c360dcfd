package pins

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// A pin is the object pins/<ms>-<uuid> of an archive: the key says until when, the
// UUID is its holder's. Integers are little-endian.
//
//	offset size field
//	     0    4 magic "QAPN"
//	     4    1 version: 1
//	     5    1 kind: 1 use, 2 prune
//	     6    2 length of the holder's name
//	     8      the name: printable UTF-8, for people
//	          4 CRC32C of the bytes before
//
// It is valid if and only if magic, version, kind, length and checksum are as above,
// the name is valid and has at most maxHolder bytes. Another version is wal.ErrVersion.
// One that is not valid is believed all the same, and taken for both kinds.
const (
	magic     = "QAPN"
	version   = 1
	fixed     = 8
	maxHolder = 256
	maxBytes  = fixed + maxHolder + 4
)

// Kind says what a pin is for.
type Kind uint8

// Kinds of pins.
const (
	Use   Kind = 1 // reads, or puts what refers to something
	Prune Kind = 2 // deletes
)

func (k Kind) String() string {
	switch k {
	case Use:
		return "use"
	case Prune:
		return "prune"
	}
	return "unknown"
}

func encode(k Kind, holder string) []byte {
	holder = strings.Map(printable, strings.ToValidUTF8(holder, "?"))
	for len(holder) > maxHolder {
		_, n := utf8.DecodeLastRuneInString(holder)
		holder = holder[:len(holder)-n]
	}
	b := make([]byte, fixed, fixed+len(holder)+4)
	copy(b, magic)
	b[4], b[5] = version, byte(k)
	binary.LittleEndian.PutUint16(b[6:], uint16(len(holder)))
	b = append(b, holder...)
	return binary.LittleEndian.AppendUint32(b, objects.Checksum(0, b))
}

// printable is what people can read of a rune.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// decode is the inverse of encode, for the object that has a key.
func decode(key string, b []byte) (Kind, string, error) {
	bad := func(reason string) (Kind, string, error) {
		return 0, "", fmt.Errorf("pins: %w", &wal.CorruptError{File: key, Offset: -1, Reason: reason})
	}
	switch {
	case len(b) < 5 || string(b[:4]) != magic:
		return bad("its magic is wrong")
	case b[4] != version:
		return 0, "", fmt.Errorf("pins: %s has version %d, this program knows %d: %w", key, b[4], version, wal.ErrVersion)
	case len(b) < fixed+4 || len(b) != fixed+4+int(binary.LittleEndian.Uint16(b[6:])):
		return bad("its length is wrong")
	case objects.Checksum(0, b[:len(b)-4]) != binary.LittleEndian.Uint32(b[len(b)-4:]):
		return bad("its checksum is wrong")
	}
	k, holder := Kind(b[5]), string(b[fixed:len(b)-4])
	if k != Use && k != Prune || string(encode(k, holder)) != string(b) {
		return bad("its kind or its holder's name is wrong")
	}
	return k, holder, nil
}

package pagetree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// A node fills one slot of the smallest class that holds it. Little-endian:
//
//	offset size field
//	     0    4 magic "QPTN"
//	     4    1 version, 1
//	     5    1 height: 1 is a leaf, at most 7
//	     6    2 zero
//	     8    8 bitmap of the places taken
//	    16      one entry for each set bit, lowest first
//	            zeros to the end of the slot
//
// Entry of a leaf, 29 bytes (64 of them fit a 2 KiB slot):
//
//	 0    6 slot of the page
//	 6    7 birth
//	13   16 page hash
//
// Entry of an inner node, 51 bytes (64 of them fit a 4 KiB slot):
//
//	 0    6 slot of the child
//	 6    7 birth of the child
//	13   16 check of the child: hash of (slot, whole slot)
//	29   16 sum of the pages below, low half first
//	45    6 count of the pages below
//
// A node is valid if and only if
//  1. its slot hashes to the check its parent holds (node.Source sees to it);
//  2. magic, version, height and zero bytes are as above;
//  3. at least one place is taken;
//  4. the slot is of the smallest class for its entries, and zero behind them;
//  5. every slot has a file number, every birth is not zero;
//  6. every count is from 1 to 64^(height-1).
//
// A change of meaning raises the version; a reader refuses versions it does
// not know with wal.ErrVersion.
const (
	nodeMagic   = "QPTN"
	nodeVersion = 1
	nodeHeader  = 16
	leafEntry   = 29
	innerEntry  = 51
	maxNode     = 4096
	maxBirth    = 1<<56 - 1
)

// appendNode appends the slot of a node whose children are written.
func appendNode(dst []byte, b *body, moved Moved) ([]byte, error) {
	start := len(dst)
	dst = append(dst, nodeMagic...)
	dst = append(dst, nodeVersion, b.height, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, b.bits)
	for _, p := range b.leaf {
		at, ok := moved.entry(p)
		if !ok {
			return nil, fmt.Errorf("image at log address %#x has no slot", p.Addr)
		}
		dst = appendAt(dst, at.Addr, at.Birth, at.Hash)
	}
	for _, kid := range b.kids {
		ref := kid.knot.ref()
		dst = appendAt(dst, uint64(ref.Slot), ref.Birth, ref.Check)
		dst = appendSum(dst, kid.sum)
		dst = appendUint(dst, kid.count, 6)
	}
	pad := heap.ClassFor(len(dst)-start).Bytes() - (len(dst) - start)
	return append(dst, make([]byte, pad)...), nil
}

func appendAt(dst []byte, slot uint64, birth wal.LSN, hash wal.PageHash) []byte {
	dst = appendUint(dst, slot, 6)
	dst = appendUint(dst, uint64(birth), 7)
	return append(dst, hash[:]...)
}

func appendSum(dst []byte, s wal.Sum) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, s.Lo)
	return binary.LittleEndian.AppendUint64(dst, s.Hi)
}

// appendUint appends the low n bytes of v.
func appendUint(dst []byte, v uint64, n int) []byte {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	return append(dst, b[:n]...)
}

// readUint is the inverse of appendUint.
func readUint(b []byte) uint64 {
	var v [8]byte
	copy(v[:], b)
	return binary.LittleEndian.Uint64(v[:])
}

// decodeNode decodes a verified slot into a *body; it keeps nothing of it.
func decodeNode(slot []byte) (decoded any, cost int, err error) {
	b, err := decodeHeader(slot)
	if err != nil {
		return nil, 0, err
	}
	if b.height == 1 {
		err = b.decodeLeaf(slot[nodeHeader:])
		return b, 128 + 32*len(b.leaf), err
	}
	err = b.decodeInner(slot[nodeHeader:])
	return b, 128 + (32+40)*len(b.kids), err
}

func decodeHeader(slot []byte) (*body, error) {
	if len(slot) < nodeHeader || string(slot[:4]) != nodeMagic {
		return nil, errors.New("no page tree node")
	}
	if slot[4] != nodeVersion {
		return nil, fmt.Errorf("page tree node of version %d, this program knows %d: %w", slot[4], nodeVersion, wal.ErrVersion)
	}
	b := &body{height: slot[5], bits: binary.LittleEndian.Uint64(slot[8:])}
	size := nodeHeader + bits.OnesCount64(b.bits)*entrySize(b.height)
	switch {
	case b.height < 1 || b.height > maxHeight || slot[6] != 0 || slot[7] != 0:
		return nil, fmt.Errorf("page tree node of height %d with reserved bytes %x", b.height, slot[6:8])
	case b.bits == 0:
		return nil, errors.New("page tree node without entries")
	case len(slot) != heap.ClassFor(size).Bytes():
		return nil, fmt.Errorf("page tree node of %d bytes in a slot of %d", size, len(slot))
	case !allZero(slot[size:]):
		return nil, errors.New("page tree node with bytes behind its end")
	}
	return b, nil
}

func entrySize(height uint8) int {
	if height == 1 {
		return leafEntry
	}
	return innerEntry
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func decodeAt(b []byte) (slot uint64, birth wal.LSN, hash wal.PageHash, err error) {
	slot, birth, hash = readUint(b[:6]), wal.LSN(readUint(b[6:13])), wal.PageHash(b[13:29])
	if heap.Slot(slot).File() == 0 || birth == 0 {
		err = fmt.Errorf("page tree entry names slot %v, birth %d", heap.Slot(slot), birth)
	}
	return slot, birth, hash, err
}

func (b *body) decodeLeaf(p []byte) (err error) {
	b.leaf = make([]Entry, bits.OnesCount64(b.bits))
	for i := range b.leaf {
		e := &b.leaf[i]
		if e.Addr, e.Birth, e.Hash, err = decodeAt(p[i*leafEntry:]); err != nil {
			return err
		}
	}
	return nil
}

func (b *body) decodeInner(p []byte) error {
	b.kids = make([]link, bits.OnesCount64(b.bits))
	knots := make([]knot, len(b.kids))
	for i := range b.kids {
		raw := p[i*innerEntry:]
		slot, birth, check, err := decodeAt(raw)
		if err != nil {
			return err
		}
		knots[i].slot.Store(slot)
		knots[i].birth, knots[i].check = birth, check
		l := &b.kids[i]
		l.knot, l.sum, l.count = &knots[i], decodeSum(raw[29:]), readUint(raw[45:51])
		if l.count == 0 || l.count > span(int(b.height)-1) {
			return fmt.Errorf("page tree entry counts %d pages below height %d", l.count, b.height)
		}
	}
	return nil
}

func decodeSum(b []byte) wal.Sum {
	return wal.Sum{Lo: binary.LittleEndian.Uint64(b), Hi: binary.LittleEndian.Uint64(b[8:])}
}

// RootSize is the size of an encoded root in bytes.
const RootSize = 64

// AppendRoot appends the root of a clean tree, one that Rebase or DecodeRoot
// made, and panics for another. It is part of a catalogue record, whose
// version covers it. Little-endian:
//
//	offset size field
//	     0    8 size in pages
//	     8    8 count of present pages
//	    16   16 sum, low half first
//	    32    8 slot of the root node; of the page when the size is at most 1
//	    40    8 its birth
//	    48   16 check of the root node; hash of the page
//
// It is valid if and only if the size is at most wal.MaxPages, the count at
// most the size, and either the count and all behind it are zero or slot and
// birth name something; a single page's hash is its sum.
func (t Tree) AppendRoot(dst []byte) []byte {
	if !t.Clean() {
		panic("pagetree: root of a tree that is not clean")
	}
	at := t.only
	if k := t.root.knot; k != nil {
		at = Entry{k.slot.Load(), k.birth, k.check}
	}
	dst = binary.LittleEndian.AppendUint64(dst, t.pages)
	dst = binary.LittleEndian.AppendUint64(dst, t.root.count)
	dst = appendSum(dst, t.root.sum)
	dst = binary.LittleEndian.AppendUint64(dst, at.Addr)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at.Birth))
	return append(dst, at.Hash[:]...)
}

// DecodeRoot is the inverse of AppendRoot, of exactly RootSize bytes.
func DecodeRoot(b []byte) (Tree, error) {
	if len(b) != RootSize {
		return Tree{}, fmt.Errorf("pagetree: root of %d bytes, want %d", len(b), RootSize)
	}
	t := Tree{pages: binary.LittleEndian.Uint64(b)}
	t.root.count, t.root.sum = binary.LittleEndian.Uint64(b[8:]), decodeSum(b[16:])
	at := Entry{binary.LittleEndian.Uint64(b[32:]), wal.LSN(binary.LittleEndian.Uint64(b[40:])), wal.PageHash(b[48:64])}
	if err := t.checkRoot(at, allZero(b[16:])); err != nil {
		return Tree{}, err
	}
	switch {
	case t.root.count == 0:
	case t.Height() == 0:
		t.only = at
	default:
		t.root.knot = &knot{birth: at.Birth, check: at.Hash}
		t.root.knot.slot.Store(at.Addr)
	}
	return t, nil
}

func (t Tree) checkRoot(at Entry, none bool) error {
	slot := heap.Slot(at.Addr)
	switch {
	case t.pages > wal.MaxPages || t.root.count > t.pages:
		return fmt.Errorf("pagetree: root counts %d pages of %d", t.root.count, t.pages)
	case t.root.count == 0 && !none:
		return errors.New("pagetree: root of no pages names some")
	case t.root.count == 0:
		return nil
	case at.Addr >= 1<<48 || slot.File() == 0 || at.Birth == 0 || at.Birth > maxBirth:
		return fmt.Errorf("pagetree: root names slot %v, birth %d", slot, at.Birth)
	case t.Height() == 0 && t.root.sum != (wal.Sum{}).Add(at.Hash):
		return errors.New("pagetree: sum of a single page is not its hash")
	}
	return nil
}

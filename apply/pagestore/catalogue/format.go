package catalogue

import (
	"encoding/binary"
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// A node fills the smallest slot that holds it. Little-endian; n is the count.
//
//	offset  size  field
//	     0     4  magic "QCAT"
//	     4     1  version, 1
//	     5     1  level; 0 is a leaf
//	     6     2  n, number of items, from 1
//	     8    4n  leaf: length of each key (2) and of its value (2)
//	     8    2n  inner: length of each key
//	             the keys, one after the other
//	             leaf: the values, one after the other
//	   29n       inner: for each kid slot (6), birth (7), check (16)
//	             zeros up to the end of the slot
//
// A slot is a valid node if and only if
//
//  1. magic and version are as above and the level is at most 15;
//  2. the lengths fit the slot and no smaller slot would hold them;
//  3. keys ascend strictly; in a leaf they have 1 to 300 bytes and values at
//     most 1024; in an inner node the first key is empty and no other is
//     longer than 300;
//  4. each kid has a slot of a file from 1 on;
//  5. all bytes after the last item are zero.
//
// The slot as a whole is under the check that the node's parent, or the
// manifest, holds. A later version changes the version byte; a reader refuses
// what is newer than itself with wal.ErrVersion.
const (
	magic    = "QCAT"
	version  = 1
	maxLevel = 15

	headerSize    = 8
	leafItemSize  = 4           // and the key and the value
	innerItemSize = 2 + refSize // and the key
	refSize       = 6 + 7 + 16
)

// malformed says why bytes are not a node.
type malformed string

func (m malformed) Error() string { return string(m) }

// encode fills the head of buf, which has maxBytes, with the whole slot of n.
func encode(buf []byte, n *treeNode) ([]byte, error) {
	size := n.measure()
	if size != n.size || size > maxBytes || n.slot == 0 {
		return nil, fmt.Errorf("catalogue: a node of %d bytes, frozen with %d in slot %s, cannot be written: never frozen, or a value's Size changed", size, n.size, n.slot)
	}
	slot := buf[:heap.ClassFor(size).Bytes()]
	b := append(slot[:0], magic...)
	b = append(b, version, byte(n.level))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(n.keys)))
	for i, key := range n.keys {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(key)))
		if n.level == 0 {
			b = binary.LittleEndian.AppendUint16(b, uint16(n.vals[i].Size()))
		}
	}
	for _, key := range n.keys {
		b = append(b, key...)
	}
	for _, v := range n.vals {
		b = v.Append(b)
	}
	for i := range n.kids {
		b = appendRef(b, n.kids[i].where())
	}
	if len(b) != size {
		return nil, fmt.Errorf("catalogue: the values of a node encode to %d bytes more than their Size", len(b)-size)
	}
	clear(slot[size:])
	return slot, nil
}

func appendRef(b []byte, r node.Ref) []byte {
	var w [16]byte
	binary.LittleEndian.PutUint64(w[0:], uint64(r.Slot))
	binary.LittleEndian.PutUint64(w[6:], uint64(r.Birth))
	return append(append(b, w[:13]...), r.Check[:]...)
}

func decodeRef(b []byte) (r node.Ref) {
	r.Slot = heap.Slot(binary.LittleEndian.Uint64(b) & (1<<48 - 1))
	r.Birth = wal.LSN(binary.LittleEndian.Uint64(b[5:]) >> 8)
	copy(r.Check[:], b[13:])
	return r
}

// decode is the function for node.Source.Load; it yields a *treeNode that
// keeps slot, for its values.
func decode(slot []byte) (any, int, error) {
	n, err := decodeNode(slot)
	if err != nil {
		return nil, 0, err
	}
	return n, len(slot) + 96*len(n.keys), nil
}

func decodeNode(slot []byte) (*treeNode, error) {
	if len(slot) < heap.MinClass.Bytes() || len(slot) > maxBytes || string(slot[:4]) != magic {
		return nil, malformed("not a catalogue node")
	}
	if slot[4] > version {
		return nil, fmt.Errorf("catalogue: node of version %d, this program reads up to %d: %w", slot[4], version, wal.ErrVersion)
	}
	count := int(binary.LittleEndian.Uint16(slot[6:]))
	if slot[4] != version || slot[5] > maxLevel || count == 0 {
		return nil, malformed("version, level or count out of bounds")
	}
	n := &treeNode{level: int(slot[5])}
	lens, rest, err := splitLens(n.level, count, slot)
	if err != nil {
		return nil, err
	}
	used := headerSize + len(lens) + rest
	if used > len(slot) || heap.ClassFor(used).Bytes() != len(slot) || !zero(slot[used:]) {
		return nil, malformed("size in the header, size of the slot and zeros behind do not fit")
	}
	n.size = used
	if n.level == 0 {
		return n, n.decodeLeaf(lens, slot[used-rest:used])
	}
	return n, n.decodeInner(lens, slot[used-rest:used])
}

// splitLens returns the table of lengths and the bytes that they say follow.
func splitLens(level, count int, slot []byte) (lens []byte, rest int, err error) {
	width := 4
	if level > 0 {
		width, rest = 2, count*refSize
	}
	if headerSize+count*width > len(slot) {
		return nil, 0, malformed("more items than the slot holds")
	}
	lens = slot[headerSize : headerSize+count*width]
	for i := 0; i < len(lens); i += 2 {
		rest += int(binary.LittleEndian.Uint16(lens[i:]))
	}
	return lens, rest, nil
}

func (n *treeNode) decodeLeaf(lens, b []byte) error {
	n.vals = make([]Value, len(lens)/4)
	size := 0
	for i := range n.vals {
		size += int(binary.LittleEndian.Uint16(lens[4*i:]))
	}
	vals := b[size:]
	for i := range n.vals {
		v := int(binary.LittleEndian.Uint16(lens[4*i+2:]))
		if v > MaxValue {
			return malformed("a value is too long")
		}
		n.vals[i] = Raw(vals[:v:v])
		vals = vals[v:]
	}
	return n.decodeKeys(lens, 4, string(b[:size]))
}

func (n *treeNode) decodeInner(lens, b []byte) error {
	n.kids = make([]kid, len(lens)/2)
	packed, refs := b[len(b)-len(n.kids)*refSize:], make([]node.Ref, len(n.kids))
	for i := range n.kids {
		refs[i] = decodeRef(packed[i*refSize:])
		if refs[i].Slot.File() == 0 {
			return malformed("a kid has no slot")
		}
		n.kids[i].ref = &refs[i]
	}
	return n.decodeKeys(lens, 2, string(b[:len(b)-len(packed)]))
}

// decodeKeys cuts keys by the lengths found every width bytes.
func (n *treeNode) decodeKeys(lens []byte, width int, keys string) error {
	n.keys = make([]string, len(lens)/width)
	for i := range n.keys {
		l := int(binary.LittleEndian.Uint16(lens[width*i:]))
		n.keys[i], keys = keys[:l], keys[l:]
		switch first := i == 0; {
		case l > MaxKey,
			first && (l == 0) != (n.level > 0),
			!first && n.keys[i-1] >= n.keys[i]:
			return malformed("keys are too long or do not ascend")
		}
	}
	return nil
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

package crashfs

import "bytes"

// SectorSize is the unit in bytes that a power cut keeps or loses whole.
const SectorSize = 512

// leafSectors is the number of sectors of a leaf.
const leafSectors = 128

type (
	sector [SectorSize]byte
	leaf   [leafSectors]*sector
)

// content is the bytes of a file at one moment: an immutable value that shares
// what it can with the moments before and after. A sector or leaf that is not
// there is zeros. A write of n bytes costs n bytes, two sectors, a leaf and a
// word for each 64 KiB of the file.
type content struct {
	size   int64
	leaves []*leaf
}

var zeros sector

func (c content) leaf(i int) *leaf {
	if i < len(c.leaves) && c.leaves[i] != nil {
		return c.leaves[i]
	}
	return &noLeaf
}

// noLeaf stands for a leaf of zeros; nobody changes it.
var noLeaf leaf

func (c content) sector(i int64) *sector {
	if s := c.leaf(int(i / leafSectors))[i%leafSectors]; s != nil {
		return s
	}
	return &zeros
}

// readAt copies what the file holds from off on and returns how much it was.
func (c content) readAt(p []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-off)]
	for n := 0; n < len(p); {
		at := off + int64(n)
		n += copy(p[n:], c.sector(at / SectorSize)[at%SectorSize:])
	}
	return len(p)
}

// write is the content with p at off.
func (c content) write(p []byte, off int64) content {
	d := c.edit(off + int64(len(p)))
	d.overlay(p, off)
	return d.done(max(c.size, off+int64(len(p))))
}

// truncate is the content cut or extended with zeros to size.
func (c content) truncate(size int64) content {
	return c.edit(0).done(size)
}

// draft is a content in the making: it copies each leaf once.
type draft struct {
	leaves []*leaf
	own    []bool // leaves that no content shares
}

// edit begins a draft with room for at least size bytes.
func (c content) edit(size int64) *draft {
	n := max(len(c.leaves), leavesFor(size))
	d := &draft{make([]*leaf, n), make([]bool, n)}
	copy(d.leaves, c.leaves)
	return d
}

// done ends the draft: what lies from size on is no more.
func (d *draft) done(size int64) content {
	d.cut(size)
	return content{size, d.leaves}
}

func (d *draft) get(i int64) *sector { return content{leaves: d.leaves}.sector(i) }

func (d *draft) set(i int64, s *sector) {
	l := i / leafSectors
	if !d.own[l] {
		fresh := leaf{}
		if d.leaves[l] != nil {
			fresh = *d.leaves[l]
		}
		d.leaves[l], d.own[l] = &fresh, true
	}
	d.leaves[l][i%leafSectors] = s
}

// overlay puts p at off. Whole sectors of zeros over a hole stay a hole, so
// that a file filled with zeros costs nothing.
func (d *draft) overlay(p []byte, off int64) {
	for len(p) > 0 {
		i, at := off/SectorSize, off%SectorSize
		n := min(int64(len(p)), SectorSize-at)
		if old := d.get(i); old != &zeros || !bytes.Equal(p[:n], zeros[:n]) {
			fresh := *old
			copy(fresh[at:], p[:n])
			d.set(i, &fresh)
		}
		p, off = p[n:], off+n
	}
}

// cut makes everything from size on a hole.
func (d *draft) cut(size int64) {
	n := min(leavesFor(size), len(d.leaves))
	d.leaves, d.own = d.leaves[:n], d.own[:n]
	if n < leavesFor(size) {
		return
	}
	if at := size % SectorSize; at > 0 && d.get(size/SectorSize) != &zeros {
		fresh := *d.get(size / SectorSize)
		clear(fresh[at:])
		d.set(size/SectorSize, &fresh)
	}
	for i := ceil(size, SectorSize); i < int64(n)*leafSectors; i++ {
		if d.get(i) != &zeros {
			d.set(i, nil)
		}
	}
}

func leavesFor(size int64) int { return int(ceil(size, SectorSize*leafSectors)) }

func ceil(n, unit int64) int64 { return (n + unit - 1) / unit }

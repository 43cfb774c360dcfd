package backup

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// FindLength looks for the record of a volume in LengthsVolume, whose pages
// read reads. page is where it is, or where it is to be written when found is
// false. Cost: a page read, rarely more.
func FindLength(read func(no uint64, dst []byte) error, id wal.VolumeID) (page uint64, length int64, found bool, err error) {
	buf := make([]byte, LengthsPageSize)
	first := binary.LittleEndian.Uint64(id[8:])
	for i := range uint64(maxProbes) {
		page = (first + i) % LengthsPages
		if err := read(page, buf); err != nil {
			return 0, 0, false, err
		}
		owner, length, ok, err := DecodeLength(buf)
		if err != nil || !ok || owner == id {
			return page, length, ok, err
		}
	}
	return 0, 0, false, fmt.Errorf("backup: volume %q is full: no place for a record of volume %s", LengthsVolume, id)
}

// LengthID is whose record holds the length of the file in what a ref of a volume
// points to: a tag has one of its own, since it stays when the volume changes.
func LengthID(id wal.VolumeID, ref wal.RefName) wal.VolumeID {
	if ref == "" {
		return id
	}
	return wal.VolumeID(uuid.NewSHA1(uuid.UUID(id), []byte(ref)))
}

// Length is the length in bytes of the file in a volume: what was kept, or that
// of all pages when nothing was, or when it cannot be true any more.
func Length(s *pagestore.Snapshot, v pagestore.Volume) (int64, error) {
	whole := int64(v.Tree.Pages()) * int64(v.Attrs.PageSize)
	length, found, err := recorded(s, LengthID(v.ID, v.Ref))
	if err != nil || !found || pagesFor(length, int(v.Attrs.PageSize)) != v.Tree.Pages() {
		return whole, err
	}
	ok, err := zerosBehind(v, length)
	if err != nil || !ok {
		return whole, err
	}
	return length, nil
}

func recorded(s *pagestore.Snapshot, id wal.VolumeID) (length int64, found bool, err error) {
	lengths, ok, err := s.VolumeID(LengthsVolume)
	if err != nil || !ok {
		return 0, false, err
	}
	v, ok, err := s.Volume(lengths)
	if err != nil || !ok || v.Attrs.PageSize != LengthsPageSize {
		return 0, false, err
	}
	_, length, found, err = FindLength(v.Read, id)
	return length, found, err
}

// zerosBehind reports whether the last page holds nothing behind the length.
func zerosBehind(v pagestore.Volume, length int64) (bool, error) {
	in := length % int64(v.Attrs.PageSize)
	if in == 0 {
		return true, nil
	}
	page := make([]byte, v.Attrs.PageSize)
	if err := v.Read(v.Tree.Pages()-1, page); err != nil {
		return false, err
	}
	return allZero(page[in:]), nil
}

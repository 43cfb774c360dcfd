package pagestore

import (
	"encoding/binary"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/wal"
)

// keyAfter is the first key behind all that have the prefix, whose last byte
// is not 0xff.
func keyAfter(prefix string) string {
	b := []byte(prefix)
	b[len(b)-1]++
	return string(b)
}

func lookupName(s *Store, c catalogue.Catalogue, name string) (wal.VolumeID, bool, error) {
	v, ok, err := c.Get(s.nodes, nameKey(name))
	if err != nil || !ok {
		return wal.VolumeID{}, false, err
	}
	id, err := decodeVolumeID(v)
	return id, err == nil, err
}

func decodeVolumeID(v catalogue.Value) (wal.VolumeID, error) {
	b, ok := v.(catalogue.Raw)
	if !ok || len(b) != len(wal.VolumeID{}) {
		return wal.VolumeID{}, badRecord("name", "it is not a volume UUID")
	}
	return wal.VolumeID(b), nil
}

// lookupRef finds a ref and the lineage it points to.
func lookupRef(s *Store, c catalogue.Catalogue, r wal.Ref) (refRecord, *lineageRecord, bool, error) {
	v, ok, err := c.Get(s.nodes, refKey(r))
	if err != nil || !ok {
		return refRecord{}, nil, false, err
	}
	ref, err := decodeRef(v.(catalogue.Raw))
	if err != nil {
		return refRecord{}, nil, false, err
	}
	lin, ok, err := getLineageAt(s, c, lineageKey(ref.Lineage))
	if err != nil || !ok {
		return refRecord{}, nil, false, orBad(err, "ref", "its lineage is not there")
	}
	return ref, lin, true, nil
}

func liveLineage(v catalogue.Value) (*lineageRecord, error) {
	if l, ok := v.(*lineageRecord); ok {
		return l, nil
	}
	return decodeLineage(v.(catalogue.Raw))
}

func volumeCount(s *Store, c catalogue.Catalogue) (uint64, error) {
	v, ok, err := c.Get(s.nodes, keyVolumes)
	if err != nil || !ok {
		return 0, err
	}
	b, ok := v.(catalogue.Raw)
	if !ok || len(b) != 8 {
		return 0, badRecord("volume count", "it is not 8 bytes")
	}
	return binary.LittleEndian.Uint64(b), nil
}

// lookupTip finds a kept tip.
func lookupTip(s *Store, c catalogue.Catalogue, id tipID) (*lineageRecord, bool, error) {
	return getLineageAt(s, c, id.key(prefixTip))
}

func getLineageAt(s *Store, c catalogue.Catalogue, key string) (*lineageRecord, bool, error) {
	v, ok, err := c.Get(s.nodes, key)
	if err != nil || !ok {
		return nil, false, err
	}
	l, err := liveLineage(v)
	return l, err == nil, err
}

func lookupTag(s *Store, c catalogue.Catalogue, r wal.Ref) (tagRecord, bool, error) {
	v, ok, err := c.Get(s.nodes, refKey(r))
	if err != nil || !ok {
		return tagRecord{}, false, err
	}
	t, err := decodeTag(v)
	return t, err == nil, err
}

// namedTag is a tag met by scanTags.
type namedTag struct {
	wal.Ref
	tagRecord
}

// scanTags yields the tags of a volume by name.
func scanTags(s *Store, c catalogue.Catalogue, id wal.VolumeID) iter.Seq2[namedTag, error] {
	return func(yield func(namedTag, error) bool) {
		first := refKey(wal.Ref{Volume: id})
		for it, err := range c.Scan(s.nodes, first+"\x00", first+"\xff") {
			t := namedTag{Ref: wal.Ref{Volume: id}}
			if err == nil {
				t.Name = wal.RefName(it.Key[len(first):])
				t.tagRecord, err = decodeTag(it.Value)
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// scanEnding yields the tips without pins, by lineage and age.
func scanEnding(s *Store, c catalogue.Catalogue) iter.Seq2[tipID, error] {
	return func(yield func(tipID, error) bool) {
		for it, err := range c.Scan(s.nodes, prefixEnding, keyAfter(prefixEnding)) {
			var id tipID
			if err == nil {
				id, err = parseTipID(it.Key[len(prefixEnding):])
			}
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}

package pagestore

import (
	"encoding/binary"

	"github.com/quire-db/quire/wal"
)

// Digest is the number of volumes, and a sum over all refs and their states: volume
// UUID, ref name, page size, pages and sum. It is equal for equal content, whatever
// store has it. Cost: that of the refs.
func (s *Snapshot) Digest() (volumes uint64, digest wal.PageHash, err error) {
	var sum wal.Sum
	add := func(v Volume) {
		st := v.State()
		b := append([]byte(nil), v.ID[:]...)
		b = binary.LittleEndian.AppendUint32(b, st.PageSize)
		b = binary.LittleEndian.AppendUint64(b, st.Pages)
		h := st.Sum.Hash()
		b = append(append(b, h[:]...), v.Ref...)
		sum = sum.Add(wal.HashPage(v.Seq, b))
	}
	for v, err := range s.Volumes() {
		if err != nil {
			return 0, digest, err
		}
		volumes++
		add(v)
		for t, err := range s.Tags(v.ID) {
			if err != nil {
				return 0, digest, err
			}
			add(t)
		}
	}
	return volumes, sum.Hash(), nil
}

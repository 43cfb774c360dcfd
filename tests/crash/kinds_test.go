package crash

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/quire-db/quire/txn"
)

// kinds are the transactions that a burst is made of; own is the volume that
// no other writer writes pages of.
var kinds = []func(s *step, own string) error{
	small, small, small, several, spilled, holes, shorter, counter, counter, both, naming, swapping, undone, patch, tiny, beside, sparse, sparse,
	forking, forking, tagging, tagging, back,
}

// volume opens a volume, made if it is missing.
func (s *step) volume(name string, pageSize int) (*txn.Volume, error) {
	v, err := s.Volume(name)
	if !errors.Is(err, txn.ErrNoVolume) {
		return v, err
	}
	s.effects = append(s.effects, create(name, pageSize))
	return s.CreateVolume(name, txn.VolumeOptions{PageSize: uint32(pageSize)})
}

func (s *step) write(v *txn.Volume, no uint64) error {
	page := randomBytes(s.r, v.PageSize())
	if s.r.IntN(20) == 0 {
		clear(page)
	}
	s.effects = append(s.effects, write(v.Name(), no, page))
	return v.WritePage(no, page)
}

// pages writes n pages at random among the first of a volume.
func (s *step) pages(name string, pageSize, n, among int) error {
	v, err := s.volume(name, pageSize)
	for range n {
		if err == nil {
			err = s.write(v, uint64(s.r.IntN(among)))
		}
	}
	return err
}

// small fits the log.
func small(s *step, own string) error { return s.pages(own, 4096, 1+s.r.IntN(2), 24) }

// several does not, and goes to the heap.
func several(s *step, own string) error { return s.pages(own, 4096, 4+s.r.IntN(6), 24) }

// spilled does not fit the memory of a transaction either.
func spilled(s *step, own string) error {
	v, err := s.volume(own, 4096)
	for no := range uint64(20) {
		if err == nil {
			err = s.write(v, no)
		}
	}
	return err
}

// holes discards pages.
func holes(s *step, own string) error {
	v, err := s.volume(own, 4096)
	for range 1 + s.r.IntN(6) {
		if no := uint64(s.r.IntN(24)); err == nil {
			s.effects = append(s.effects, discard(own, no))
			err = v.DiscardPage(no)
		}
	}
	return err
}

// shorter truncates, or grows, and may write behind.
func shorter(s *step, own string) error {
	v, err := s.volume(own, 4096)
	if err != nil {
		return err
	}
	size := uint64(s.r.IntN(28))
	s.effects = append(s.effects, truncate(own, size))
	if err := v.Truncate(size); err != nil || s.r.IntN(2) == 0 {
		return err
	}
	return s.write(v, size+uint64(s.r.IntN(2)))
}

// counter conflicts with other writers: a page is read and written.
func counter(s *step, own string) error {
	v, err := s.volume("shared", 1024)
	if err != nil {
		return err
	}
	page, no := make([]byte, 1024), uint64(s.r.IntN(3))
	if err := v.ReadPage(no, page); err != nil && !errors.Is(err, txn.ErrPageRange) {
		return err
	}
	binary.LittleEndian.PutUint64(page, binary.LittleEndian.Uint64(page)+1)
	page[8+s.r.IntN(1000)]++
	s.effects = append(s.effects, write("shared", no, page))
	return v.WritePage(no, page)
}

// both changes two volumes at once.
func both(s *step, own string) error {
	return errors.Join(s.pages(own, 4096, 2, 24), counter(s, own))
}

// naming creates, renames and deletes.
func naming(s *step, own string) error {
	_, err := s.Volume("spare")
	if errors.Is(err, txn.ErrNoVolume) {
		return s.pages("spare", []int{512, 4096, 65536}[s.r.IntN(3)], 1+s.r.IntN(3), 8)
	}
	_, taken := s.Volume("moved")
	if taken == nil {
		s.effects = append(s.effects, remove("moved"))
		err = s.DeleteVolume("moved")
	}
	if err != nil || s.r.IntN(3) == 0 {
		return err
	}
	s.effects = append(s.effects, rename("spare", "moved"))
	return s.RenameVolume("spare", "moved")
}

// undone does much and leaves nothing.
func undone(s *step, own string) error { return errors.Join(spilled(s, own), errUndo) }

// patch writes bytes, not pages, after a part that a savepoint undoes.
func patch(s *step, own string) error {
	if err := s.pages(own, 4096, 1, 24); err != nil {
		return err
	}
	sp, err := s.Savepoint()
	if err != nil {
		return err
	}
	kept := slices.Clone(s.effects)
	if err := s.pages(own, 4096, 3, 30); err != nil {
		return err
	}
	if err := s.RollbackTo(sp); err != nil {
		return err
	}
	s.effects = kept
	return s.patch(own)
}

func (s *step) patch(own string) error {
	v, err := s.Volume(own)
	if err != nil {
		return err
	}
	no, at := uint64(s.r.IntN(10)), s.r.IntN(4000)
	if _, err := v.WriteAt(randomBytes(s.r, 90), int64(no)*4096+int64(at)); err != nil {
		return err
	}
	for end := no + 1; no <= end; no++ {
		page := make([]byte, 4096)
		if err := v.ReadPage(no, page); err != nil {
			if errors.Is(err, txn.ErrPageRange) {
				return nil
			}
			return err
		}
		s.effects = append(s.effects, write(own, no, page))
	}
	return nil
}

// tiny has pages smaller than a block of the disk, many of them.
func tiny(s *step, own string) error { return s.pages("tiny", 512, 1+s.r.IntN(30), 60) }

// beside writes blindly what others write too, under serializable isolation
// without a read.
func beside(s *step, own string) error { return s.pages("shared", 1024, 1, 12) }

// swapping exchanges the names of two volumes.
func swapping(s *step, own string) error {
	_, err1 := s.Volume("spare")
	_, err2 := s.Volume("moved")
	if err1 != nil || err2 != nil {
		return naming(s, own)
	}
	var errs []error
	for _, n := range [][2]string{{"spare", "between"}, {"moved", "spare"}, {"between", "moved"}} {
		s.effects = append(s.effects, rename(n[0], n[1]))
		errs = append(errs, s.RenameVolume(n[0], n[1]))
	}
	return errors.Join(errs...)
}

// sparse grows a tree of several levels, and cuts it.
func sparse(s *step, own string) error {
	v, err := s.volume("sparse", 512)
	if err != nil {
		return err
	}
	far := []uint64{0, 63, 64, 65, 4000, 5000, 1 << 18, 1<<24 + 7, 1 << 33}
	if no := far[s.r.IntN(len(far))]; s.r.IntN(5) == 0 {
		s.effects = append(s.effects, truncate("sparse", no))
		err = v.Truncate(no)
	}
	for range 1 + s.r.IntN(5) {
		if err == nil {
			err = s.write(v, far[s.r.IntN(len(far))]+uint64(s.r.IntN(3)))
		}
	}
	return err
}

//go:build disks

package disks

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/quire-db/quire/txn"
)

// writers commit beside each other, each to volumes of its own, so that what a
// writer has done follows from how many of its commits there are.
const writers = 3

// kind is one of the two volumes that each writer has.
type kind struct {
	name     string
	pageSize int
	pages    uint64
}

var kinds = [2]kind{{"plain", 4096, 1200}, {"tiny", 512, 3000}}

func volumeName(writer, kind int) string {
	return fmt.Sprintf("writer %d %s", writer, kinds[kind].name)
}

// edit is what a commit does to one page. Page 0 of a volume is written by
// every commit, and says its number.
type edit struct {
	kind    int
	page    uint64
	discard bool
}

// edits of commit number (from 1) of a writer, in both of its volumes: most are
// of few pages, which lie in the log, some of dozens, which lie in the heap,
// and some are more than a stage keeps in memory. A later edit of a page wins.
func edits(writer, number int) []edit {
	r := random(writer, number, -1)
	n := 1 + r.IntN(3)
	switch {
	case number%31 == 0:
		n = 150
	case number%7 == 0:
		n = 16
	}
	list := []edit{{kind: 0}, {kind: 1}}
	for k := range kinds {
		for range n {
			list = append(list, edit{k, 1 + r.Uint64N(kinds[k].pages-1), r.IntN(8) == 0})
		}
	}
	return list
}

// fill makes the page that an edit of a commit writes: the commit's number, and
// bytes that only it has.
func fill(page []byte, writer, number, edit int) {
	r := random(writer, number, edit)
	binary.LittleEndian.PutUint64(page, uint64(number))
	for at := 8; at < len(page); at += 8 {
		binary.LittleEndian.PutUint64(page[at:], r.Uint64())
	}
}

func numberOf(page []byte) int { return int(binary.LittleEndian.Uint64(page)) }

func random(writer, number, use int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(writer)<<32|uint64(use+1), uint64(number)))
}

// stage writes all that a commit of a writer changes.
func stage(tx *txn.Tx, writer, number int) error {
	var volumes [len(kinds)]*txn.Volume
	for k := range kinds {
		v, err := tx.Volume(volumeName(writer, k))
		if err != nil {
			return err
		}
		volumes[k] = v
	}
	page := make([]byte, kinds[0].pageSize)
	for i, e := range edits(writer, number) {
		v := volumes[e.kind]
		if e.discard {
			if err := v.DiscardPage(e.page); err != nil {
				return err
			}
			continue
		}
		fill(page[:v.PageSize()], writer, number, i)
		if err := v.WritePage(e.page, page[:v.PageSize()]); err != nil {
			return err
		}
	}
	return nil
}

// create makes the volumes, in one transaction.
func create(tx *txn.Tx) error {
	for w := range writers {
		for k, kind := range kinds {
			v, err := tx.CreateVolume(volumeName(w, k), txn.VolumeOptions{PageSize: uint32(kind.pageSize)})
			if err != nil {
				return err
			}
			if err := v.Truncate(kind.pages); err != nil {
				return err
			}
		}
	}
	return nil
}

// created is the LSN of the transaction that makes the volumes; the entry
// before it begins the timeline. Each commit of a writer has one behind it.
const created = 2

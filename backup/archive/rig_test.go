package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/wal"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

// headerOf is what an object of entries says.
func headerOf(kind archive.Kind, made []archivetest.Made) archive.Header {
	first, last := made[0], made[len(made)-1]
	return archive.Header{
		Kind: kind, Log: last.Entry.Timeline, Epoch: last.Entry.Epoch, First: first.Entry.First, Last: last.Entry.Last,
		Before: first.Entry.Prev, Hash: last.Hash, FirstTime: first.Entry.Time, LastTime: last.Entry.Time, Items: uint64(len(made)),
	}
}

// frames are the plain bytes of an object, with payloads above limit in blobs.
func frames(t testing.TB, made []archivetest.Made, limit int64) (plain []byte, ids []uuid.UUID, blobs map[uuid.UUID][]byte) {
	t.Helper()
	blobs = map[uuid.UUID][]byte{}
	for _, m := range made {
		f, err := archive.NewFrame(m.Entry, m.Images())
		ok(t, err)
		if f.Payload() > limit {
			for part, err := range f.Parts(max(10_000, int(f.Payload()/20))) {
				ok(t, err)
				id := uuid.UUID{byte(len(ids) + 1), byte(len(ids) >> 8), 2: 1, 6: 0x40, 8: 0x80}
				blobs[id] = bytes.Clone(part)
				ids = append(ids, id)
				f.Blobs = append(f.Blobs, archive.NewBlobRef(id, part))
			}
		}
		plain, err = f.Append(plain)
		ok(t, err)
	}
	return plain, ids, blobs
}

func seal(t testing.TB, h archive.Header, ids []uuid.UUID, plain []byte, o archive.SealOptions) []byte {
	t.Helper()
	b, _, err := archive.Seal(h, ids, plain, o)
	ok(t, err)
	return b
}

func keyOf(h archive.Header) archive.Key {
	k := archive.Key{Kind: h.Kind, Log: h.Log, First: h.First}
	switch h.Kind {
	case archive.KindPack:
		k.Last = h.Last
	case archive.KindPart:
		k.ID, k.Number = h.ID, h.Number
	case archive.KindBlob:
		k = archive.Key{Kind: h.Kind, ID: h.ID}
	}
	return k
}

// plainOf opens an object and reads all of it.
func plainOf(key archive.Key, object []byte, ids ...age.Identity) ([]byte, error) {
	o, err := archive.Open(key, bytes.NewReader(object), int64(len(object)), ids)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	plain, err := o.ReadAll(archive.MaxPlain)
	if o.Plain > archive.BlobBytes {
		return plain, err
	}
	again, err2 := archive.Open(key, bytes.NewReader(object), int64(len(object)), ids)
	if err2 != nil {
		return nil, err2
	}
	defer again.Close()
	unpacked, err2 := again.Unpack(&buffers, archive.BlobBytes)
	if errors.Is(err, wal.ErrCorrupt) != errors.Is(err2, wal.ErrCorrupt) || (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(plain, unpacked) {
		return nil, fmt.Errorf("it is read as %d bytes (%v), and unpacked as %d (%v)", len(plain), err, len(unpacked), err2)
	}
	return plain, err
}

// buffers have other objects' bytes in them.
var buffers archive.Buffers

// entriesOf reads all entries of an object, and compares them with made.
func entriesOf(t testing.TB, key archive.Key, object []byte, blobs map[uuid.UUID][]byte, made []archivetest.Made) error {
	t.Helper()
	o, err := archive.Open(key, bytes.NewReader(object), int64(len(object)), nil)
	if err != nil {
		return err
	}
	defer o.Close()
	r, err := archive.NewEntries(o, func(b archive.BlobRef) ([]byte, error) { return blobs[b.ID], nil })
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		item, err := r.Next()
		if err == io.EOF && n != len(made) {
			t.Fatalf("%d of %d entries, and no error", n, len(made))
		}
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = item.Verify()
		}
		if err != nil {
			return err
		}
		if n == len(made) || item.Position() != made[n].Position() {
			t.Fatalf("entry %d is %v, and no error", n, item.Position())
		}
		made[n].Compare(t, item.Entry, item.Images)
	}
}

// history is a begin-timeline entry and writes of so many pages each.
func history(pages ...int) []archivetest.Made {
	h := archivetest.New(1)
	made := []archivetest.Made{h.Begin()}
	for i, n := range pages {
		made = append(made, h.Write(uint64(i%3), n))
	}
	return made
}

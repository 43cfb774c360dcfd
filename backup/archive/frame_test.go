package archive_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/wal"
)

func TestFramesGolden(t *testing.T) {
	plain, _, _ := frames(t, history(3), archive.InlineBytes)
	golden(t, "frames.v1.golden", plain)
	plain, _, _ = frames(t, history(3), 0)
	golden(t, "frames-blob.v1.golden", plain)
}

// TestEntries: entries of all sizes, with payloads inline or in blobs, come back byte
// for byte with every image.
func TestEntries(t *testing.T) {
	made := history(1, 30, 0+1, wal.MaxInlineRows, wal.MaxInlineRows+1, 2*wal.MaxInlineRows+5, 2)
	for _, limit := range []int64{0, 5000, 1 << 20, archive.InlineBytes} {
		plain, ids, blobs := frames(t, made, limit)
		for _, kind := range []archive.Kind{archive.KindAppend, archive.KindPack} {
			h := headerOf(kind, made)
			ok(t, entriesOf(t, keyOf(h), seal(t, h, ids, plain, archive.SealOptions{}), blobs, made))
		}
	}
}

// TestOnlyWhatIsNamed: bytes of the body that no locator names are not archived,
// nor can they be read.
func TestOnlyWhatIsNamed(t *testing.T) {
	m := history(100)[1]
	secret := bytes.Repeat([]byte("unnamed "), 12)
	copy(m.Body, secret)
	f, err := archive.NewFrame(m.Entry, m.Images())
	ok(t, err)
	if want := int64(100 * archivetest.PageSize); f.Payload() != want {
		t.Errorf("%d bytes of payload, the images have %d", f.Payload(), want)
	}
	plain, err := f.Append(nil)
	ok(t, err)
	if bytes.Contains(plain, []byte("unnamed")) {
		t.Error("the archive has bytes that the entry does not name")
	}
	made := history(100)
	h := headerOf(archive.KindAppend, made)
	plain, _, _ = frames(t, made, archive.InlineBytes)
	object := seal(t, h, nil, plain, archive.SealOptions{})
	o, err := archive.Open(keyOf(h), bytes.NewReader(object), int64(len(object)), nil)
	ok(t, err)
	defer o.Close()
	r, err := archive.NewEntries(o, nil)
	ok(t, err)
	_, err = r.Next()
	ok(t, err)
	item, err := r.Next()
	ok(t, err)
	for _, off := range []int64{-1, 0, 99, 100 + 4*archivetest.PageSize, 1 << 50} {
		_, err := item.Images.ReadAt(make([]byte, 10_000), off)
		is(t, err, wal.ErrCorrupt)
	}
	if n, err := item.Images.ReadAt(nil, 0); n != 0 || err != nil {
		t.Error(n, err)
	}
}

// TestBadImages: an image or index that is not the entry's is never archived,
// wherever it lies.
func TestBadImages(t *testing.T) {
	for _, pages := range []int{20, wal.MaxInlineRows + 20} {
		m := history(pages)[1]
		for _, at := range []int{100, 5000, len(m.Body) - 1} {
			bad := bytes.Clone(m.Body)
			bad[at] ^= 1
			f, err := archive.NewFrame(m.Entry, bytes.NewReader(bad))
			if err == nil {
				_, err = f.Append(nil)
			}
			is(t, err, archive.ErrImage)
			for _, size := range []int{40_000, 1 << 20} { // each part passes through all rows
				err = nil
				if f == nil {
					break
				}
				for _, e := range f.Parts(size) {
					err = e
				}
				is(t, err, archive.ErrImage)
			}
		}
		_, err := archive.NewFrame(m.Entry, bytes.NewReader(m.Body[:len(m.Body)-1]))
		if f, e := archive.NewFrame(m.Entry, nil); err == nil && e == nil {
			_, err = f.Append(nil)
		}
		is(t, err, archive.ErrImage)
	}
}

func TestFrameRefuses(t *testing.T) {
	made := history(1, 17_000)
	f, err := archive.NewFrame(made[2].Entry, made[2].Images())
	ok(t, err)
	_, err = f.Append(nil)
	is(t, err, wal.ErrTooLarge) // without blobs
	f.Blobs = []archive.BlobRef{{ID: id, Length: 1}}
	if _, err = f.Append(nil); err == nil || !strings.Contains(err.Error(), "blobs of 1 bytes") {
		t.Error(err)
	}
	r := *made[1].Entry
	r.Kind = wal.KindRange
	_, err = archive.NewFrame(&r, nil)
	is(t, err, wal.ErrVersion)
	r.Kind = 0
	if _, err = archive.NewFrame(&r, nil); err == nil {
		t.Error("an entry that is not valid has a frame")
	}
	b := seal(t, sealed()[3], nil, nil, archive.SealOptions{})
	o, err := archive.Open(keyOf(sealed()[3]), bytes.NewReader(b), int64(len(b)), nil)
	ok(t, err)
	_, err = archive.NewEntries(o, nil)
	is(t, err, wal.ErrCorrupt)
}

// TestHeaderAndEntriesAgree seals entries under a header that says something
// else, or other entries under the header.
func TestHeaderAndEntriesAgree(t *testing.T) {
	made := history(1, 2, 3, 4)[1:]
	other := archivetest.New(2)
	other.Begin()
	other.Write(0, 1)
	stranger := other.Write(0, 2)
	plain := func(m ...archivetest.Made) []byte { b, _, _ := frames(t, m, archive.InlineBytes); return b }
	whole := headerOf(archive.KindAppend, made)
	change := func(do func(h *archive.Header)) archive.Header { h := whole; do(&h); return h }
	for what, c := range map[string]struct {
		h     archive.Header
		plain []byte
		ids   []uuid.UUID
	}{
		"one less":       {whole, plain(made[:3]...), nil},
		"one more":       {headerOf(archive.KindAppend, made[:3]), plain(made...), nil},
		"gap":            {whole, plain(made[0], made[1], made[3]), nil},
		"twice":          {whole, plain(made[0], made[1], made[1], made[3]), nil},
		"order":          {whole, plain(made[0], made[2], made[1], made[3]), nil},
		"stranger":       {whole, plain(made[0], stranger, made[2], made[3]), nil},
		"none":           {whole, nil, nil},
		"cut":            {whole, plain(made...)[:700], nil},
		"cut head":       {whole, plain(made...)[:10], nil},
		"garbage behind": {whole, append(plain(made...), 1, 2, 3), nil},
		"blob":           {whole, plain(made...), []uuid.UUID{id}},
		"hash before":    {change(func(h *archive.Header) { h.Before[0]++ }), plain(made...), nil},
		"hash":           {change(func(h *archive.Header) { h.Hash[0]++ }), plain(made...), nil},
		"first time":     {change(func(h *archive.Header) { h.FirstTime++ }), plain(made...), nil},
		"last time":      {change(func(h *archive.Header) { h.LastTime++ }), plain(made...), nil},
		"epoch":          {change(func(h *archive.Header) { h.Epoch++ }), plain(made...), nil},
		"timeline":       {change(func(h *archive.Header) { h.Log = parent }), plain(made...), nil},
	} {
		object := seal(t, c.h, c.ids, c.plain, archive.SealOptions{})
		if err := entriesOf(t, keyOf(c.h), object, nil, made); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestFramesEveryByte changes each byte of frames beneath a checksum that fits.
// What is found is corruption; what is not is the same history with the same
// images.
func TestFramesEveryByte(t *testing.T) {
	made := history(3, 20)
	h := headerOf(archive.KindAppend, made)
	for _, limit := range []int64{0, archive.InlineBytes} {
		plain, ids, blobs := frames(t, made, limit)
		for i := range plain {
			b := bytes.Clone(plain)
			b[i] ^= 1 << (i % 8)
			err := entriesOf(t, keyOf(h), seal(t, h, ids, b, archive.SealOptions{Uncompressed: true}), blobs, made)
			if !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
}

// TestBlobs: a blob that is another, shorter or gone is found.
func TestBlobs(t *testing.T) {
	made := history(60)
	h := headerOf(archive.KindAppend, made)
	plain, ids, blobs := frames(t, made, 0)
	object := seal(t, h, ids, plain, archive.SealOptions{})
	for i, spoil := range []func(b []byte) []byte{
		func(b []byte) []byte { return b[1:] },
		func(b []byte) []byte { b = bytes.Clone(b); b[7]++; return b },
		func([]byte) []byte { return nil },
	} {
		for _, id := range ids {
			good := blobs[id]
			blobs[id] = spoil(good)
			if err := entriesOf(t, keyOf(h), object, blobs, made); !errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("%d: %v", i, err)
			}
			blobs[id] = good
		}
	}

	bh := sealed()[3]
	sealedBlob := seal(t, bh, nil, text(100), archive.SealOptions{})
	ref := archive.NewBlobRef(bh.ID, text(100))
	got, err := archive.OpenBlob(ref, bytes.NewReader(sealedBlob), int64(len(sealedBlob)), nil)
	if err != nil || !bytes.Equal(got, text(100)) {
		t.Fatal(err)
	}
	ref.Sum[0]++
	_, err = archive.OpenBlob(ref, bytes.NewReader(sealedBlob), int64(len(sealedBlob)), nil)
	is(t, err, wal.ErrCorrupt)
}

// TestPartsAreThePayload: however it is cut, the payload is the same.
func TestPartsAreThePayload(t *testing.T) {
	m := history(wal.MaxInlineRows + 100)[1]
	var want []byte
	for _, size := range []int{archive.InlineBytes, 100, 20_001, 100_000, 1 << 20} {
		f, err := archive.NewFrame(m.Entry, m.Images())
		ok(t, err)
		var got []byte
		for part, err := range f.Parts(size) {
			ok(t, err)
			if len(part) > size {
				t.Fatalf("a part of %d bytes, at most %d", len(part), size)
			}
			got = slices.Concat(got, part)
			if size == 100 && len(got) > 5000 {
				break // each part passes through all rows
			}
		}
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want[:len(got)]) || int64(len(got)) != f.Payload() && size != 100 {
			t.Errorf("in parts of %d the payload is another", size)
		}
	}
}

// TestBlobsAreReadOnce: whatever order the images have in the body, going through
// the rows needs each blob once.
func TestBlobsAreReadOnce(t *testing.T) {
	made := history(3*wal.MaxInlineRows + 7)
	f, err := archive.NewFrame(made[1].Entry, made[1].Images())
	ok(t, err)
	blobs, fetched := map[uuid.UUID][]byte{}, map[uuid.UUID]int{}
	var ids []uuid.UUID
	for part, err := range f.Parts(400_000) {
		ok(t, err)
		id := uuid.UUID{byte(len(ids) + 1)}
		ids, blobs[id] = append(ids, id), bytes.Clone(part)
		f.Blobs = append(f.Blobs, archive.NewBlobRef(id, part))
	}
	plain, err := f.Append(nil)
	ok(t, err)
	h := headerOf(archive.KindAppend, made[1:])
	object := seal(t, h, ids, plain, archive.SealOptions{})
	o, err := archive.Open(keyOf(h), bytes.NewReader(object), int64(len(object)), nil)
	ok(t, err)
	defer o.Close()
	r, err := archive.NewEntries(o, func(b archive.BlobRef) ([]byte, error) { fetched[b.ID]++; return blobs[b.ID], nil })
	ok(t, err)
	item, err := r.Next()
	ok(t, err)
	ok(t, item.Verify())
	for id, n := range fetched {
		if n > 1 {
			t.Errorf("blob %x of %d was fetched %d times", id[0], len(ids), n)
		}
	}
	if len(fetched) != len(ids) || len(ids) < 10 {
		t.Errorf("%d of %d blobs were fetched", len(fetched), len(ids))
	}
}

// TestOneImageTwice: two rows of one locator, and bodies in which ranges overlap, are as good
// as others.
func TestOneImageTwice(t *testing.T) {
	made := history(4)
	e := *made[1].Entry
	e.Sections = slices.Clone(e.Sections)
	rows := slices.Clone(e.Sections[0].Delta.Rows)
	body := bytes.Clone(made[1].Body)
	for i := range rows { // each begins in the middle of the one before
		at := 100 + i/2*archivetest.PageSize/2
		rows[i].Locator = wal.RawLocator(uint64(at), archivetest.PageSize)
		rows[i].Hash = wal.HashPage(rows[i].Page, body[at:at+archivetest.PageSize])
	}
	e.Sections[0].Delta.Rows = rows
	made[1] = archivetest.Made{Entry: &e, Hash: e.Hash(), Body: body}
	for _, limit := range []int64{0, archive.InlineBytes} {
		plain, ids, blobs := frames(t, made, limit)
		h := headerOf(archive.KindAppend, made)
		ok(t, entriesOf(t, keyOf(h), seal(t, h, ids, plain, archive.SealOptions{}), blobs, made))
	}
	f, err := archive.NewFrame(&e, made[1].Images())
	ok(t, err)
	if f.Payload() != 3*archivetest.PageSize/2 {
		t.Errorf("%d bytes of payload", f.Payload())
	}
}

// FuzzEntries: any plain bytes are entries as the header says, or an error.
func FuzzEntries(f *testing.F) {
	made := history(2, 5)
	h := headerOf(archive.KindAppend, made)
	for _, limit := range []int64{0, archive.InlineBytes} {
		plain, _, _ := frames(f, made, limit)
		f.Add(plain)
	}
	_, ids, blobs := frames(f, made, 0)
	f.Fuzz(func(t *testing.T, plain []byte) {
		for _, ids := range [][]uuid.UUID{nil, ids} {
			object := seal(t, h, ids, plain, archive.SealOptions{Uncompressed: true})
			o, err := archive.Open(keyOf(h), bytes.NewReader(object), int64(len(object)), nil)
			ok(t, err)
			r, err := archive.NewEntries(o, func(b archive.BlobRef) ([]byte, error) { return blobs[b.ID], nil })
			ok(t, err)
			n := 0
			for ; err == nil; n++ {
				var item *archive.Item
				if item, err = r.Next(); err == nil && item.Hash != made[n].Hash {
					t.Fatalf("entry %d has hash %s", n, item.Hash)
				}
			}
			if err != io.EOF && !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) {
				t.Fatal(err)
			}
		}
	})
}

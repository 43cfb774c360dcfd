package archive_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// sealed is a valid header of each kind.
func sealed() []archive.Header {
	h := archive.Header{
		Kind: archive.KindAppend, Log: timeline, Epoch: 7, First: 41, Last: 43, Before: wal.Hash{1}, Hash: wal.Hash{2},
		FirstTime: 1767323045123456789, LastTime: 1767323045123456889, Items: 3,
	}
	first, pack, blob := h, h, h
	first.First, first.Last, first.Before, first.Items, first.LastTime = 1, 1, wal.Hash{}, 1, first.FirstTime
	pack.Kind = archive.KindPack
	blob.Kind, blob.First, blob.FirstTime, blob.ID, blob.Items = archive.KindBlob, blob.Last, blob.LastTime, id, 1
	part, manifest := blob, blob
	part.Kind, part.Number, part.Items = archive.KindPart, 12, 1000
	part.Before = wal.Hash{}
	manifest.Kind, manifest.Before = archive.KindManifest, wal.Hash{}
	return []archive.Header{h, first, pack, blob, part, manifest}
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	// Made for this test.
	i, err := age.ParseX25519Identity("AGE-SECRET-KEY-1XZNUTRJCPHLVLYGCFT9LL0DW70MFUH0ZVPLFHXS5QNVFYMXWJK8S2E3SSQ")
	ok(t, err)
	return i
}

func text(n int) []byte { return bytes.Repeat([]byte("to be stored "), n/13+1)[:n] }

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{3})
	_, _ = r.Read(b)
	return b
}

func TestSealGolden(t *testing.T) {
	h := sealed()[0]
	ids := []uuid.UUID{id, {5, 6: 0x40, 8: 0x80}}
	golden(t, "seal.v1.golden", seal(t, h, ids, []byte("plain"), archive.SealOptions{}))
	golden(t, "seal-kinds.v1.golden", sealKinds(t))
}

// TestSealMakesTextSmaller: mail in base64 never repeats, and has six bits in a byte.
func TestSealMakesTextSmaller(t *testing.T) {
	t.Parallel()
	mail := []byte(base64.StdEncoding.EncodeToString(noise(300_000)))
	for what, o := range map[string]archive.SealOptions{"at once": {}, "in pieces": {GiveWay: func(time.Duration) {}}} {
		if b := seal(t, sealed()[0], nil, mail, o); len(b) > len(mail)*77/100 {
			t.Errorf("%s: %d bytes of %d", what, len(b), len(mail))
		}
		if b := seal(t, sealed()[0], nil, noise(300_000), o); len(b) > 300_000+archive.HeaderBytes {
			t.Errorf("%s: noise became %d bytes", what, len(b))
		}
	}
}

// TestSkips: the form of a skip, and what is none.
func TestSkips(t *testing.T) {
	h := sealed()[0]
	h.Kind, h.Items, h.LastTime = archive.KindSkip, 0, h.FirstTime
	b := golden(t, "seal-skip.v1.golden", seal(t, h, nil, nil, archive.SealOptions{}))
	got, err := archive.DecodeHeader(archive.Key{Kind: archive.KindAppend, Log: h.Log, First: h.First}, int64(len(b)), b)
	if err != nil || got.Kind != h.Kind || got.Position() != h.Position() {
		t.Fatal(got, err)
	}
	for what, change := range map[string]func(h *archive.Header){
		"entries": func(h *archive.Header) { h.Items = 3 }, "UUID": func(h *archive.Header) { h.ID = id }, "number": func(h *archive.Header) { h.Number = 1 },
		"last": func(h *archive.Header) { h.Last = h.First - 1 }, "time": func(h *archive.Header) { h.FirstTime++ }, "two times": func(h *archive.Header) { h.LastTime++ },
	} {
		bad := h
		change(&bad)
		if _, _, err := archive.Seal(bad, nil, nil, archive.SealOptions{}); err == nil {
			t.Errorf("%s: it was sealed", what)
		}
	}
	if _, _, err := archive.Seal(h, nil, []byte("x"), archive.SealOptions{}); err == nil {
		t.Error("bytes: it was sealed")
	}
	if _, err := archive.DecodeHeader(archive.Key{Kind: archive.KindPack, Log: h.Log, First: h.First, Last: h.Last}, int64(len(b)), b); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("by a pack's key: %v", err)
	}
}

func sealKinds(t *testing.T) (all []byte) {
	for _, h := range sealed() {
		all = append(all, seal(t, h, nil, []byte("plain"), archive.SealOptions{})...)
	}
	return all
}

// TestSealedGoldenOpens: what other versions of the libraries compressed and
// encrypted can be read; their bytes may be others today.
func TestSealedGoldenOpens(t *testing.T) {
	key := keyOf(sealed()[0])
	want := text(1000)
	o := archive.SealOptions{Recipients: []age.Recipient{identity(t).Recipient()}}
	b := readGolden(t, "seal-zstd-age.v1.golden", func() []byte { return seal(t, sealed()[0], nil, want, o) })
	got, err := plainOf(key, b, identity(t))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestSealAndOpen(t *testing.T) {
	recipients, pieces := []age.Recipient{identity(t).Recipient()}, 0
	count := func(time.Duration) { pieces++ }
	for _, o := range []archive.SealOptions{{}, {Uncompressed: true}, {Recipients: recipients}, {Recipients: recipients, Uncompressed: true}, {GiveWay: count}, {Recipients: recipients, GiveWay: count}} {
		for _, plain := range [][]byte{nil, []byte("x"), text(100_000), noise(100_000), text(3 << 20)} {
			for _, h := range sealed() {
				b, got, err := archive.Seal(h, nil, plain, o)
				ok(t, err)
				compresses := !o.Uncompressed && len(plain) > 1 && plain[0] == 't'
				if (got.Compression == archive.CompressionZstd) != compresses || (got.Encryption == archive.EncryptionAge) != (len(o.Recipients) > 0) {
					t.Errorf("%d bytes are sealed with %s and %s", len(plain), got.Compression, got.Encryption)
				}
				read, err := plainOf(keyOf(h), b, identity(t))
				if err != nil || !bytes.Equal(read, plain) {
					t.Fatalf("%d bytes became %d, %v", len(plain), len(read), err)
				}
				again, err := archive.DecodeHeader(keyOf(h), int64(len(b)), b)
				if err != nil || again != got || again.Size() != int64(len(b)) {
					t.Fatalf("%+v became %+v, %v", got, again, err)
				}
			}
		}
	}
	if pieces < 2*24*len(sealed()) {
		t.Errorf("it gave way only %d times", pieces)
	}
}

// TestSealedEveryBit: whatever bit of the header, or byte behind it, changes, it is
// found, with the key and without, and none of its bytes are returned.
func TestSealedEveryBit(t *testing.T) {
	recipients := []age.Recipient{identity(t).Recipient()}
	h := sealed()[0]
	for _, o := range []archive.SealOptions{{}, {Uncompressed: true}, {Recipients: recipients}} {
		whole := seal(t, h, []uuid.UUID{id}, text(500), o)
		for i := range len(whole) * 8 {
			if i/8 >= archive.HeaderBytes && i%8 != i/8%8 {
				continue
			}
			b := bytes.Clone(whole)
			b[i/8] ^= 1 << (i % 8)
			want := wal.ErrCorrupt
			if i/8 == 4 {
				want = wal.ErrVersion
			}
			plain, err := plainOf(keyOf(h), b, identity(t))
			_, _, check := archive.Check(keyOf(h), bytes.NewReader(b), int64(len(b)))
			if !errors.Is(err, want) || !errors.Is(check, want) || len(plain) > 0 {
				t.Fatalf("bit %d of byte %d: %d bytes, %v, %v", i%8, i/8, len(plain), err, check)
			}
		}
		for n := range whole {
			if _, err := plainOf(keyOf(h), whole[:n], identity(t)); !errors.Is(err, wal.ErrCorrupt) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
		if _, err := plainOf(keyOf(h), append(bytes.Clone(whole), 0), identity(t)); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatal(err)
		}
		// A reader that ends early, whatever size was listed.
		o, err := archive.Open(keyOf(h), bytes.NewReader(whole[:len(whole)-1]), int64(len(whole)), []age.Identity{identity(t)})
		if err == nil {
			_, err = io.ReadAll(o)
			o.Close()
		}
		is(t, err, wal.ErrCorrupt)
	}
}

// TestSealedSwapped: an object by another's key, of whatever kind, is found.
func TestSealedSwapped(t *testing.T) {
	for i, h := range sealed() {
		b := seal(t, h, nil, text(10), archive.SealOptions{})
		for j, other := range sealed() {
			_, _, err := archive.Check(keyOf(other), bytes.NewReader(b), int64(len(b)))
			if (i == j) != (err == nil) || err != nil && !errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("%s by %s: %v", keyOf(h), keyOf(other), err)
			}
		}
		for _, k := range keys() {
			_, err := archive.DecodeHeader(k, int64(len(b)), b)
			if k != keyOf(h) && !errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("%s by %s: %v", keyOf(h), k, err)
			}
		}
	}
}

// resealed changes fields of an object's header, whose checksum fits.
func resealed(object []byte, change func(b []byte)) []byte {
	b := bytes.Clone(object)
	change(b)
	binary.LittleEndian.PutUint32(b[archive.HeaderBytes-4:], objects.Checksum(0, b[:archive.HeaderBytes-4]))
	return b
}

// TestHeaderRules breaks each rule of a header whose checksum fits.
func TestHeaderRules(t *testing.T) {
	le := binary.LittleEndian
	kinds := sealed()
	for what, c := range map[string]struct {
		of     archive.Header
		change func(b []byte)
		want   error
	}{
		"kind":               {kinds[0], func(b []byte) { b[5] = 0 }, wal.ErrCorrupt},
		"newer kind":         {kinds[0], func(b []byte) { b[5] = 7 }, wal.ErrCorrupt},
		"compression":        {kinds[0], func(b []byte) { b[6] = 2 }, wal.ErrVersion},
		"encryption":         {kinds[0], func(b []byte) { b[7] = 2 }, wal.ErrVersion},
		"timeline":           {kinds[0], func(b []byte) { clear(b[8:24]) }, wal.ErrCorrupt},
		"first":              {kinds[0], func(b []byte) { clear(b[32:40]) }, wal.ErrCorrupt},
		"last":               {kinds[0], func(b []byte) { le.PutUint64(b[40:], 40) }, wal.ErrCorrupt},
		"before":             {kinds[0], func(b []byte) { clear(b[48:80]) }, wal.ErrCorrupt},
		"before the first":   {kinds[1], func(b []byte) { b[48] = 1 }, wal.ErrCorrupt},
		"before of a part":   {kinds[4], func(b []byte) { b[48] = 1 }, wal.ErrCorrupt},
		"hash":               {kinds[0], func(b []byte) { clear(b[80:112]) }, wal.ErrCorrupt},
		"no time":            {kinds[0], func(b []byte) { clear(b[112:120]) }, wal.ErrCorrupt},
		"times":              {kinds[0], func(b []byte) { copy(b[120:128], b[112:120]) }, wal.ErrCorrupt},
		"times of one entry": {kinds[1], func(b []byte) { b[120]++ }, wal.ErrCorrupt},
		"UUID":               {kinds[0], func(b []byte) { b[128] = 1 }, wal.ErrCorrupt},
		"no UUID":            {kinds[5], func(b []byte) { clear(b[128:144]) }, wal.ErrCorrupt},
		"number":             {kinds[0], func(b []byte) { b[144] = 1 }, wal.ErrCorrupt},
		"large number":       {kinds[4], func(b []byte) { le.PutUint32(b[144:], 1e6) }, wal.ErrCorrupt},
		"items":              {kinds[0], func(b []byte) { b[152]++ }, wal.ErrCorrupt},
		"blobs":              {kinds[0], func(b []byte) { le.PutUint32(b[148:], archive.MaxRefs+1) }, wal.ErrCorrupt},
		"blobs of a part":    {kinds[4], func(b []byte) { b[148] = 1 }, wal.ErrCorrupt},
		"plain":              {kinds[0], func(b []byte) { le.PutUint64(b[160:], 11) }, wal.ErrCorrupt},
		"huge plain":         {kinds[0], func(b []byte) { b[6] = 1; le.PutUint64(b[160:], 1<<62) }, wal.ErrCorrupt},
		"negative plain":     {kinds[0], func(b []byte) { b[6] = 1; le.PutUint64(b[160:], 1<<63) }, wal.ErrCorrupt},
		"stored":             {kinds[0], func(b []byte) { b[6] = 1; le.PutUint64(b[168:], 1<<62) }, wal.ErrCorrupt},
	} {
		object := seal(t, c.of, nil, text(10), archive.SealOptions{})
		_, err := plainOf(keyOf(c.of), resealed(object, c.change))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	bad := kinds[0]
	bad.Items = 1
	if _, _, err := archive.Seal(bad, nil, nil, archive.SealOptions{}); err == nil {
		t.Error("a header that is not valid was sealed")
	}
	if _, _, err := archive.Seal(kinds[0], make([]uuid.UUID, archive.MaxRefs+1), nil, archive.SealOptions{}); !errors.Is(err, wal.ErrTooLarge) {
		t.Error(err)
	}
}

// TestBombs: bytes that become more, or fewer, than the header says are refused
// without being kept.
func TestBombs(t *testing.T) {
	object := seal(t, sealed()[0], nil, make([]byte, 64<<20), archive.SealOptions{})
	if len(object) > 64<<10 {
		t.Fatalf("%d bytes are no bomb", len(object))
	}
	for _, plain := range []uint64{0, 1, 1000, 64<<20 - 1, 64<<20 + 1} {
		b := resealed(object, func(b []byte) { binary.LittleEndian.PutUint64(b[160:], plain) })
		o, err := archive.Open(keyOf(sealed()[0]), bytes.NewReader(b), int64(len(b)), nil)
		ok(t, err)
		n, err := io.Copy(io.Discard, o)
		o.Close()
		if !errors.Is(err, wal.ErrCorrupt) || uint64(n) > plain {
			t.Errorf("%d bytes of %d, %v", n, plain, err)
		}
		if _, again := o.Read(make([]byte, 1)); again != err {
			t.Errorf("the error became %v", again)
		}
	}
	_, err := plainOf(keyOf(sealed()[0]), object)
	ok(t, err)
	o, err := archive.Open(keyOf(sealed()[0]), bytes.NewReader(object), int64(len(object)), nil)
	ok(t, err)
	_, err = o.ReadAll(1 << 20)
	is(t, err, wal.ErrTooLarge)
	o.Close()
}

// TestLocked: another key's owner learns that it is locked and to how many, and
// can check it; damage is never taken for a wrong key.
func TestLocked(t *testing.T) {
	h := sealed()[0]
	object := seal(t, h, nil, text(1000), archive.SealOptions{Recipients: []age.Recipient{identity(t).Recipient()}})
	other, err := age.GenerateX25519Identity()
	ok(t, err)
	for _, ids := range [][]age.Identity{nil, {other}, {other, other}} {
		_, err := plainOf(keyOf(h), object, ids...)
		var locked *archive.LockedError
		if !errors.Is(err, archive.ErrLocked) || !errors.As(err, &locked) || locked.Identities != len(ids) || strings.Contains(err.Error(), "SECRET") {
			t.Fatalf("%#v", err)
		}
		if len(ids) > 0 && (len(locked.Recipients) != 1 || locked.Recipients[0] != "X25519") {
			t.Errorf("it is encrypted to %v", locked.Recipients)
		}
		flipped := bytes.Clone(object)
		flipped[archive.HeaderBytes+60] ^= 1
		_, err = plainOf(keyOf(h), flipped, ids...)
		is(t, err, wal.ErrCorrupt)
	}
	_, _, err = archive.Check(keyOf(h), bytes.NewReader(object), int64(len(object)))
	ok(t, err)
	if got, err := plainOf(keyOf(h), object, other, identity(t)); err != nil || len(got) != 1000 {
		t.Fatal(err)
	}
}

// TestStoreErrors: what a store says is passed on, not called corruption.
func TestStoreErrors(t *testing.T) {
	broken := errors.New("the network")
	recipients := []age.Recipient{identity(t).Recipient()}
	for _, o := range []archive.SealOptions{{}, {Recipients: recipients}} {
		object := seal(t, sealed()[0], []uuid.UUID{id}, text(100_000), o)
		for _, n := range []int{0, 10, archive.HeaderBytes, archive.HeaderBytes + 8, len(object) / 2, len(object) - 1} {
			r := io.MultiReader(bytes.NewReader(object[:n]), iotest.ErrReader(broken))
			opened, err := archive.Open(keyOf(sealed()[0]), r, int64(len(object)), []age.Identity{identity(t)})
			if err == nil {
				_, err = io.ReadAll(opened)
				opened.Close()
			}
			if !errors.Is(err, broken) || errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("behind %d bytes: %v", n, err)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	key := keyOf(sealed()[0])
	for _, o := range []archive.SealOptions{{}, {Uncompressed: true}, {Recipients: []age.Recipient{identity(f).Recipient()}}} {
		f.Add(seal(f, sealed()[0], []uuid.UUID{id}, text(300), o))
	}
	f.Add(readGolden(f, "seal-skip.v1.golden", nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= archive.HeaderBytes {
			b = resealed(b, func([]byte) {})
		}
		plain, err := plainOf(key, b, identity(t))
		if err != nil && !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) && !errors.Is(err, archive.ErrLocked) {
			t.Fatal(err)
		}
		h, _, check := archive.Check(key, bytes.NewReader(b), int64(len(b)))
		if err == nil && (check != nil || int64(len(plain)) != h.Plain) {
			t.Fatalf("%d bytes, %+v, %v", len(plain), h, check)
		}
	})
}

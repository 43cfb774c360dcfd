package objectstest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/quire-db/quire/backup/objects"
)

// Run checks an implementation within this process. setup returns an empty
// store, anew for each check.
func Run(t *testing.T, setup func(t *testing.T) objects.Store) {
	checks := []struct {
		name  string
		check func(t *testing.T, s objects.Store)
	}{
		{"PutThenGet", putThenGet},
		{"PutRefusesASecond", putRefusesASecond},
		{"PutChecksTheBody", putChecksTheBody},
		{"PutTakesAPart", putTakesAPart},
		{"PutAfterDelete", putAfterDelete},
		{"GetRanges", getRanges},
		{"GetOfNothing", getOfNothing},
		{"ReadersKeepTheirObject", readersKeepTheirObject},
		{"ListPrefixes", listPrefixes},
		{"ListMany", listMany},
		{"ListEnds", listEnds},
		{"DeleteIsIdempotent", deleteIsIdempotent},
		{"BadKeys", badKeys},
		{"LongKeys", longKeys},
		{"EndedContext", endedContext},
		{"OnePutWins", onePutWins},
		{"PutsBesideLists", putsBesideLists},
		{"ProbePasses", probePasses},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			c.check(t, setup(t))
		})
	}
}

var background = context.Background()

func put(t *testing.T, s objects.Store, key, text string) {
	t.Helper()
	if err := s.Put(background, key, objects.Bytes([]byte(text))); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, s objects.Store, key string) {
	t.Helper()
	if err := s.Delete(background, key); err != nil {
		t.Fatal(err)
	}
}

// read is what an object holds.
func read(t testing.TB, s objects.Store, key string) string {
	t.Helper()
	text, size := readRange(t, s, key, 0, -1)
	if size != int64(len(text)) {
		t.Errorf("%s has %d bytes and is said to have %d", key, len(text), size)
	}
	return text
}

func readRange(t testing.TB, s objects.Store, key string, off, n int64) (text string, size int64) {
	t.Helper()
	r, size, err := s.Get(background, key, off, n)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b), size
}

func is(t *testing.T, err, want error) {
	t.Helper()
	var typed *objects.Error
	if !errors.Is(err, want) || !errors.As(err, &typed) {
		t.Fatalf("error is %v, want an *objects.Error with %v", err, want)
	}
}

func absent(t *testing.T, s objects.Store, key string) {
	t.Helper()
	_, _, err := s.Get(background, key, 0, -1)
	is(t, err, objects.ErrNotFound)
}

// listed compares the keys of a prefix, each of which must be listed once.
func listed(t *testing.T, s objects.Store, prefix string, want ...string) {
	t.Helper()
	if got := Keys(t, s, prefix); !slices.Equal(got, want) {
		t.Errorf("list of %q is %q, want %q", prefix, got, want)
	}
}

func putThenGet(t *testing.T, s objects.Store) {
	for _, size := range []int{0, 1, 4096, 1<<20 + 7} {
		key, text := fmt.Sprint("sizes/", size), random(size)
		put(t, s, key, text)
		if read(t, s, key) != text {
			t.Errorf("an object of %d bytes holds others", size)
		}
	}
	if s.String() == "" {
		t.Error("the store has no name")
	}
}

// random is text that no compression makes small, the same each time.
func random(size int) string {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, size)
	_, _ = r.Read(b)
	return string(b)
}

func putRefusesASecond(t *testing.T, s objects.Store) {
	put(t, s, "a/b", "first")
	for _, text := range []string{"second", "first", ""} {
		is(t, s.Put(background, "a/b", objects.Bytes([]byte(text))), objects.ErrExists)
	}
	if got := read(t, s, "a/b"); got != "first" {
		t.Errorf("it holds %q", got)
	}
	listed(t, s, "", "a/b")
}

func putChecksTheBody(t *testing.T, s objects.Store) {
	body := objects.Bytes([]byte("text"))
	flipped, longer := body, body
	flipped.CRC++
	longer.Size++
	is(t, s.Put(background, "a", flipped), objects.ErrChecksum)
	is(t, s.Put(background, "a", longer), objects.ErrChecksum)
	negative, huge := body, body
	negative.Size = -1
	huge.Size = objects.MaxSize + 1
	broken := errors.New("the disk below the body")
	for _, b := range []objects.Body{negative, huge, {Data: readerAt{iotest.ErrReader(broken)}, Size: 4}} {
		if err := s.Put(background, "a", b); err == nil {
			t.Fatal("a body that cannot be was put")
		} else if b.Size == 4 && !errors.Is(err, broken) {
			t.Errorf("the body's error became %v", err)
		}
	}
	absent(t, s, "a")
	listed(t, s, "")
	put(t, s, "a", "text")
}

// readerAt reads forwards only.
type readerAt struct{ io.Reader }

func (r readerAt) ReadAt(p []byte, _ int64) (int, error) { return io.ReadFull(r, p) }

// putTakesAPart puts a body that has more bytes behind it.
func putTakesAPart(t *testing.T, s objects.Store) {
	text := random(700_000)
	part := text[:600_000]
	body := objects.Body{Data: strings.NewReader(text), Size: int64(len(part)), CRC: objects.Checksum(0, []byte(part))}
	if body.CRC != crc32.Checksum([]byte(part), crc32.MakeTable(crc32.Castagnoli)) {
		t.Error("Checksum is no CRC32C")
	}
	if err := s.Put(background, "a", body); err != nil {
		t.Fatal(err)
	}
	if read(t, s, "a") != part {
		t.Error("it holds something else")
	}
}

func putAfterDelete(t *testing.T, s objects.Store) {
	put(t, s, "a", "one")
	remove(t, s, "a")
	put(t, s, "a", "two")
	if got := read(t, s, "a"); got != "two" {
		t.Errorf("it holds %q", got)
	}
}

func getRanges(t *testing.T, s objects.Store) {
	text := random(1000)
	put(t, s, "a", text)
	put(t, s, "empty", "")
	for _, c := range []struct {
		key     string
		off, n  int64
		lo, end int
	}{
		{"a", 0, -1, 0, 1000}, {"a", 0, 0, 0, 0}, {"a", 0, 1, 0, 1}, {"a", 999, 1, 999, 1000}, {"a", 1, 998, 1, 999},
		{"a", 500, -1, 500, 1000}, {"a", 500, 1 << 62, 500, 1000}, {"a", 1000, 1, 0, 0}, {"a", 1000, -1, 0, 0},
		{"a", 1 << 60, 5, 0, 0}, {"a", 10, 0, 0, 0},
		{"empty", 0, -1, 0, 0}, {"empty", 0, 1, 0, 0}, {"empty", 7, -1, 0, 0},
	} {
		got, size := readRange(t, s, c.key, c.off, c.n)
		want := int64(len(text))
		if c.key == "empty" {
			want = 0
		}
		if got != text[c.lo:c.end] || size != want {
			t.Errorf("Get(%s, %d, %d) is %d bytes of %d", c.key, c.off, c.n, len(got), size)
		}
	}
	if _, _, err := s.Get(background, "a", -1, 1); err == nil || errors.Is(err, objects.ErrNotFound) {
		t.Errorf("Get from -1 on: %v", err)
	}
}

func getOfNothing(t *testing.T, s objects.Store) {
	absent(t, s, "a")
	absent(t, s, "a/b/c")
	put(t, s, "a/b", "")
	absent(t, s, "a/c")
	absent(t, s, "a/b1")
	_, _, err := s.Get(background, "none", 5, 0)
	is(t, err, objects.ErrNotFound)
}

// readersKeepTheirObject deletes one that is being read: the reader gets its
// bytes or an error, never others, never fewer.
func readersKeepTheirObject(t *testing.T, s objects.Store) {
	text := random(300_000)
	put(t, s, "a", text)
	r, _, err := s.Get(background, "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	remove(t, s, "a")
	put(t, s, "a", strings.Repeat("other", 70_000))
	if got, err := io.ReadAll(r); err == nil && string(got) != text {
		t.Error("a reader got bytes that are not its object's")
	}
}

func listPrefixes(t *testing.T, s objects.Store) {
	listed(t, s, "")
	listed(t, s, "none/")
	keys := []string{"FORMAT", "logs/1/append/1", "logs/1/append/10", "logs/1/append/2", "logs/1/apple", "logs/10/start", "logs/2.x", "z"}
	for i, key := range keys {
		put(t, s, key, strings.Repeat("x", i))
	}
	listed(t, s, "", keys...)
	listed(t, s, "logs/", keys[1:7]...)
	listed(t, s, "logs", keys[1:7]...)
	listed(t, s, "l", keys[1:7]...)
	listed(t, s, "logs/1", keys[1:6]...)
	listed(t, s, "logs/1/", keys[1:5]...)
	listed(t, s, "logs/1/app", keys[1:5]...)
	listed(t, s, "logs/1/append", keys[1:4]...)
	listed(t, s, "logs/1/append/1", keys[1:3]...)
	listed(t, s, "logs/1/append/3")
	listed(t, s, "logs/2.", keys[6])
	listed(t, s, "z", "z")
	listed(t, s, "z/")
	listed(t, s, "zz")
	for item, err := range s.List(background, "") {
		if err != nil || item.Size != int64(slices.Index(keys, item.Key)) {
			t.Errorf("listed %+v, %v", item, err)
		}
	}
}

const manyObjects = 1100 // more than a page of S3's lists

// listMany lists more than a server returns at once, then deletes each object as
// it is listed: the others are listed nevertheless.
func listMany(t *testing.T, s objects.Store) {
	listed(t, s, "many/", putMany(t, s)...)
	n := 0
	for item, err := range s.List(background, "many/") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		remove(t, s, item.Key)
	}
	if n != manyObjects {
		t.Errorf("%d of %d were listed while they were deleted", n, manyObjects)
	}
	listed(t, s, "")
}

func putMany(t *testing.T, s objects.Store) (keys []string) {
	t.Helper()
	for i := range manyObjects {
		keys = append(keys, fmt.Sprintf("many/%04d", i))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < manyObjects; i += 8 {
				if err := s.Put(background, keys[i], objects.Bytes([]byte(keys[i]))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return keys
}

func listEnds(t *testing.T, s objects.Store) {
	for i := range 5 {
		put(t, s, fmt.Sprintf("a/%d/b", i), "")
	}
	for range 2 { // and nothing is left open or half done
		n := 0
		for _, err := range s.List(background, "a/") {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 2 {
				break
			}
		}
	}
}

func deleteIsIdempotent(t *testing.T, s objects.Store) {
	remove(t, s, "a/b")
	put(t, s, "a/b", "")
	put(t, s, "a/c", "c")
	remove(t, s, "a/b")
	remove(t, s, "a/b")
	absent(t, s, "a/b")
	listed(t, s, "", "a/c")
	remove(t, s, "a/c")
	remove(t, s, "none/c")
	put(t, s, "a/c", "again")
	listed(t, s, "a/", "a/c")
}

func badKeys(t *testing.T, s objects.Store) {
	for _, key := range BadKeys {
		is(t, s.Put(background, key, objects.Bytes(nil)), objects.ErrKey)
		is(t, s.Delete(background, key), objects.ErrKey)
		_, _, err := s.Get(background, key, 0, -1)
		is(t, err, objects.ErrKey)
	}
	for _, prefix := range []string{"/", "../", "a//", ".", "a/.put", "\x00", strings.Repeat("a", 1000)} {
		err := error(nil)
		for _, err = range s.List(background, prefix) {
			break
		}
		is(t, err, objects.ErrKey)
	}
	listed(t, s, "")
}

// BadKeys are keys that no store takes.
var BadKeys = []string{
	"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/../b", "./a", ".put/x", "a/.b", "-a", "_a", "a/-",
	"a b", "a\\b", "a\x00", "a\n", "ä", "a?b", "a#b", "a%2fb", "a:b", "a*", "\xff",
	strings.Repeat("a", objects.MaxPart+1),
	"a" + strings.Repeat("/a", objects.MaxParts),
	strings.Repeat(strings.Repeat("a", 100)+"/", 5) + "a",
}

func longKeys(t *testing.T, s objects.Store) {
	part := strings.Repeat("p", objects.MaxPart)
	keys := []string{
		part + "/" + part + "/" + strings.Repeat("q", objects.MaxKey-2*objects.MaxPart-2),
		"a" + strings.Repeat("/a", objects.MaxParts-1),
		"0.-_Z",
	}
	for _, key := range keys {
		put(t, s, key, key)
		if read(t, s, key) != key {
			t.Errorf("%s holds something else", key)
		}
		listed(t, s, key, key)
	}
	if got := Keys(t, s, ""); len(got) != len(keys) {
		t.Errorf("%d of %d keys are listed", len(got), len(keys))
	}
}

func endedContext(t *testing.T, s objects.Store) {
	put(t, s, "there", "text")
	ctx, end := context.WithCancel(background)
	end()
	is(t, s.Put(ctx, "a", objects.Bytes([]byte("text"))), context.Canceled)
	_, _, err := s.Get(ctx, "there", 0, -1)
	is(t, err, context.Canceled)
	for _, err = range s.List(ctx, "") {
		break
	}
	is(t, err, context.Canceled)
	is(t, s.Delete(ctx, "there"), context.Canceled)
	put(t, s, "a", "text")
}

func onePutWins(t *testing.T, s objects.Store) {
	const racers = 16
	for round := range 8 {
		key := fmt.Sprintf("round/%d/key", round)
		var mu sync.Mutex
		var won []string
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				text := strings.Repeat(fmt.Sprint(i, " "), 1000+i)
				err := s.Put(background, key, objects.Bytes([]byte(text)))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, text)
				} else if !errors.Is(err, objects.ErrExists) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d of %d puts of one key succeeded", len(won), racers)
		}
		if read(t, s, key) != won[0] {
			t.Error("the object is not the winner's")
		}
	}
}

// putsBesideLists: whatever is listed can be read whole.
func putsBesideLists(t *testing.T, s objects.Store) {
	const puts = 100
	text := random(50_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range puts {
			if err := s.Put(background, fmt.Sprintf("d%d/%d", i%3, i), objects.Bytes([]byte(text))); err != nil {
				t.Error(err)
			}
		}
	}()
	for more := true; more; {
		select {
		case <-done:
			more = false
		default:
		}
		for _, key := range Keys(t, s, "") {
			if read(t, s, key) != text {
				t.Fatalf("%s is not whole", key)
			}
		}
	}
	if n := len(Keys(t, s, "")); n != puts {
		t.Errorf("%d of %d objects are there", n, puts)
	}
}

func probePasses(t *testing.T, s objects.Store) {
	now := time.Now()
	for range 2 {
		if err := objects.Probe(background, s, now); err != nil {
			t.Fatal(err)
		}
	}
	listed(t, s, "")
	put(t, s, "FORMAT", "an archive's")
	if err := objects.Probe(background, s, now); err != nil {
		t.Fatal(err)
	}
	listed(t, s, "", "FORMAT")
}

package crashfs

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestContentAgainstBytes: random writes and truncations against a plain slice,
// all earlier contents unchanged at the end.
func TestContentAgainstBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c content
		var plain []byte
		var contents []content
		var plains [][]byte
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			at := rapid.IntRange(0, 150_000).Draw(t, "at")
			if rapid.Bool().Draw(t, "truncate") {
				c, plain = c.truncate(int64(at)), resized(plain, at)
			} else {
				data := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(1, 3000).Draw(t, "length"))
				c, plain = c.write(data, int64(at)), resized(plain, max(len(plain), at+len(data)))
				copy(plain[at:], data)
			}
			contents, plains = append(contents, c), append(plains, plain)
		}
		for i, c := range contents {
			got := make([]byte, len(plains[i])+1)
			if n := c.readAt(got, 0); n != len(plains[i]) || !bytes.Equal(got[:n], plains[i]) {
				t.Fatalf("content %d of %d bytes is not what was written, %d bytes", i, n, len(plains[i]))
			}
		}
	})
}

// resized is a copy of b cut or extended with zeros.
func resized(b []byte, size int) []byte {
	fresh := make([]byte, size)
	copy(fresh, b)
	return fresh
}

// TestZerosAreFree: a file filled with zeros has no sectors.
func TestZerosAreFree(t *testing.T) {
	c := content{}.write(make([]byte, 1<<20), 0)
	for _, l := range c.leaves {
		if l != nil {
			t.Fatal("a leaf of zeros takes memory")
		}
	}
	if c.size != 1<<20 {
		t.Errorf("size is %d", c.size)
	}
}

package objects_test

import (
	"errors"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

var validPart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

func isValid(key string) bool {
	parts := strings.Split(key, "/")
	for _, p := range parts {
		if !validPart.MatchString(p) {
			return false
		}
	}
	return len(key) <= objects.MaxKey && len(parts) <= objects.MaxParts
}

func TestCheckKey(t *testing.T) {
	for _, key := range objectstest.BadKeys {
		is(t, objects.CheckKey(key), objects.ErrKey)
	}
	for _, key := range []string{"a", "FORMAT", "logs/0190-ab/append/00000000000000000001", "a.b_c-d", "pins/9-x"} {
		ok(t, objects.CheckKey(key))
	}
}

// FuzzKey compares the rules with a plainer form of them, and with what they are for: a
// key is a clean path below the store, and what is put by it is found by it.
func FuzzKey(f *testing.F) {
	for _, key := range append([]string{"FORMAT", "a/b", "a.b/c-d_e", "logs/1/append/2", "a/b/"}, objectstest.BadKeys...) {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		err := objects.CheckKey(key)
		if (err == nil) != isValid(key) {
			t.Fatalf("CheckKey(%q) is %v", key, err)
		}
		if perr := objects.CheckPrefix(key); err == nil && perr != nil {
			t.Fatalf("no key begins with the key %q: %v", key, perr)
		}
		if err != nil {
			is(t, err, objects.ErrKey)
			if len(err.Error()) > 2000 {
				t.Fatal("the message has no bound")
			}
			return
		}
		if path.Clean(key) != key || !filepath.IsLocal(key) {
			t.Fatalf("%q is no path below a directory", key)
		}
		s := onDisk(t, crashfs.New(), began)
		ok(t, put(s, key, "text"))
		is(t, put(s, key, "text"), objects.ErrExists)
		if has := contents(t, s); len(has) != 1 || has[key] != "text" {
			t.Fatalf("%q became %v", key, has)
		}
		ok(t, s.Delete(background, key))
	})
}

// FuzzPrefix: a prefix is taken exactly if some key begins with it.
func FuzzPrefix(f *testing.F) {
	for _, prefix := range []string{"", "a", "a/", "a//", "/", ".", "a/.", strings.Repeat("a/", 15), strings.Repeat("a/", 16)} {
		f.Add(prefix)
	}
	f.Fuzz(func(t *testing.T, prefix string) {
		err := objects.CheckPrefix(prefix)
		some := prefix == "" || objects.CheckKey(prefix) == nil || objects.CheckKey(prefix+"Z") == nil
		if (err == nil) != some || err != nil && !errors.Is(err, objects.ErrKey) {
			t.Fatalf("CheckPrefix(%q) is %v", prefix, err)
		}
	})
}

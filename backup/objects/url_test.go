package objects_test

import (
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quire-db/quire/backup/objects"
)

func open(raw string, opts objects.DirOptions) (objects.Store, error) {
	return objects.Open(background, raw, objects.Known(opts))
}

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b%3Fé")
	raw := (&url.URL{Scheme: "file", Path: dir}).String()
	_, err := open(raw, objects.DirOptions{})
	is(t, err, fs.ErrNotExist)
	s, err := open(raw, objects.DirOptions{Create: true})
	ok(t, err)
	ok(t, put(s, "a", ""))
	if s.String() != raw || !exists(filepath.Join(dir, "a")) {
		t.Errorf("%q was opened for %q", s, raw)
	}
	again, err := open(strings.Replace(raw, "file://", "file://localhost", 1), objects.DirOptions{})
	ok(t, err)
	if has := contents(t, again); len(has) != 1 {
		t.Errorf("it has %v", has)
	}
}

func TestOpenRefuses(t *testing.T) {
	for raw, says := range map[string]string{
		"":                         "is no URL",
		"/srv/archive":             "file:///path",
		"srv":                      "file:///path",
		"file://srv/archive":       "three slashes",
		"file:srv":                 "not absolute",
		"file://":                  "not absolute",
		"file:///srv?x=1":          "%3F",
		"file:///srv?":             "%3F",
		"file:///srv#x":            "%23",
		"file:///srv%00x":          "zero bytes",
		"file://me:secret@/srv":    "names a host",
		"other://me:secret@host/x": `no stores of scheme "other"`,
		"file://me:secret@ho st/":  "cannot be read",
		"://x":                     "cannot be read",
	} {
		_, err := open(raw, objects.DirOptions{Create: true})
		if !errors.Is(err, objects.ErrURL) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) is %v, want %q", raw, err, says)
		}
	}
	_, err := open("other://host/x", objects.DirOptions{})
	var unknown *objects.SchemeError
	if !errors.As(err, &unknown) || unknown.Scheme != "other" || len(unknown.Known) != 1 || unknown.Known[0] != "file" {
		t.Errorf("error is %#v", err)
	}
}

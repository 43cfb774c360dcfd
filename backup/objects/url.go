package objects

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Schemes are the kinds of stores by the scheme of their URLs.
type Schemes map[string]func(context.Context, *url.URL) (Store, error)

// Known are the schemes that this package has: "file", a directory.
func Known(opts DirOptions) Schemes {
	return Schemes{"file": func(_ context.Context, u *url.URL) (Store, error) { return openFile(u, opts) }}
}

// Open opens the store that a URL names. Whether it does what it must is for
// Probe to find out. ErrURL: it names none that could be; of an unknown scheme that is a
// *SchemeError.
func Open(ctx context.Context, raw string, schemes Schemes) (Store, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// What package url says repeats the URL, with the password in it.
		var reason *url.Error
		if errors.As(err, &reason) {
			err = reason.Err
		}
		return nil, BadURL(fmt.Errorf("objects: the URL of the store cannot be read: %w", err))
	}
	open, ok := schemes[u.Scheme]
	if !ok {
		return nil, &SchemeError{URL: u.Redacted(), Scheme: u.Scheme, Known: slices.Sorted(maps.Keys(schemes))}
	}
	return open(ctx, u)
}

// ErrURL says that a URL names no store that could be opened, whatever can be reached; of a
// scheme that the program does not know, too.
var ErrURL = errors.New("objects: not a URL of a store")

// BadURL is the error, and ErrURL.
func BadURL(err error) error { return badURL{err} }

type badURL struct{ error }

func (e badURL) Unwrap() error      { return e.error }
func (badURL) Is(target error) bool { return target == ErrURL }

// SchemeError says that a URL names no known kind of store.
type SchemeError struct {
	URL    string   // without password
	Scheme string   // of the URL; may be empty
	Known  []string // schemes, sorted
}

func (e *SchemeError) Is(target error) bool { return target == ErrURL }

func (e *SchemeError) Error() string {
	known := strings.Join(e.Known, "://, ") + "://"
	if e.Scheme == "" {
		return fmt.Sprintf("objects: %q is no URL: it begins with none of %s (a directory is file:///path)", e.URL, known)
	}
	return fmt.Sprintf("objects: %q: no stores of scheme %q are known, only %s", e.URL, e.Scheme, known)
}

func openFile(u *url.URL, opts DirOptions) (Store, error) {
	switch {
	case u.Host != "" && u.Host != "localhost" || u.User != nil:
		return nil, badFileURL(u, "it names a host: three slashes begin a path")
	case !filepath.IsAbs(u.Path):
		return nil, badFileURL(u, "its path is not absolute")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, badFileURL(u, "what follows ? or # is no part of a path: write %3F or %23")
	case strings.ContainsRune(u.Path, 0):
		return nil, badFileURL(u, "a path has no zero bytes")
	}
	d, err := OpenDir(u.Path, opts)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func badFileURL(u *url.URL, reason string) error {
	return BadURL(fmt.Errorf("objects: %q is no file:///path: %s", u.Redacted(), reason))
}

package tidwallfs

import (
	"bytes"
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Library is the module path of the library.
const Library = "github.com/tidwall/wal"

// uses is the number of places where the library reaches the disk.
const uses = 20

// hook declares what the rewritten places call.
//
//go:embed hook.go.txt
var hook []byte

// Command generates the hooked library in dir and returns a go test of the
// packages and flags in args with it. module is the directory of go.mod.
func Command(module, dir string, args ...string) (*exec.Cmd, error) {
	modfile, err := Generate(module, dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", append([]string{"test", "-mod=mod", "-modfile=" + modfile, "-tags=crashfs"}, args...)...)
	cmd.Dir = module
	return cmd, nil
}

// Generate writes the hooked library, and a module file that uses it in place
// of the original, to dir, and returns the module file's path. module is the
// directory of go.mod.
func Generate(module, dir string) (modfile string, err error) {
	lib, err := libraryDir(module)
	if err != nil {
		return "", err
	}
	hooked, err := hookedSource(lib)
	if err != nil {
		return "", err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("tidwallfs: %w", err)
	}
	to := filepath.Join(dir, "wal")
	if err := writeLibrary(lib, to, hooked); err != nil {
		return "", fmt.Errorf("tidwallfs: writing the hooked library: %w", err)
	}
	modfile = filepath.Join(dir, "crash.mod")
	if err := writeModule(module, modfile, to); err != nil {
		return "", fmt.Errorf("tidwallfs: writing the module file: %w", err)
	}
	return modfile, nil
}

// libraryDir is where the module cache has the library.
func libraryDir(module string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", Library)
	cmd.Dir = module
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("tidwallfs: looking for %s: %w: %s", Library, err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), nil
}

// hookedSource is the library's only source file, rewritten.
func hookedSource(lib string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(lib, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("tidwallfs: %w", err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
	if len(files) != 1 {
		return nil, fmt.Errorf("tidwallfs: %s has %d source files, want 1: look whether the others reach the disk", lib, len(files))
	}
	src, err := os.ReadFile(files[0])
	if err != nil {
		return nil, fmt.Errorf("tidwallfs: %w", err)
	}
	hooked, n, err := rewrite(src)
	if err == nil && n != uses {
		err = fmt.Errorf("tidwallfs: %s reaches the disk in %d places, want %d: look what changed in the library", files[0], n, uses)
	}
	return hooked, err
}

func writeLibrary(lib, to string, source []byte) error {
	gomod, err := os.ReadFile(filepath.Join(lib, "go.mod"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for name, data := range map[string][]byte{"wal.go": source, "hook.go": hook, "go.mod": gomod} {
		if err := os.WriteFile(filepath.Join(to, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func writeModule(module, modfile, lib string) error {
	gomod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return err
	}
	gosum, err := os.ReadFile(filepath.Join(module, "go.sum"))
	if err != nil {
		return err
	}
	gomod = fmt.Appendf(gomod, "\nreplace %s => %s\n", Library, strconv.Quote(lib))
	if err := os.WriteFile(modfile, gomod, 0o600); err != nil {
		return err
	}
	return os.WriteFile(strings.TrimSuffix(modfile, ".mod")+".sum", gosum, 0o600)
}

// What the library may name of package os without reaching the disk, and what
// the hook has a method for.
var (
	harmless = []string{"FileMode", "O_CREATE", "O_RDWR", "O_TRUNC", "O_WRONLY"}
	hookable = []string{"MkdirAll", "OpenFile", "ReadDir", "ReadFile", "Remove", "RemoveAll", "Rename"}
)

// edit replaces bytes [from, to) of a source.
type edit struct {
	from, to int
	text     string
}

// rewrite turns os.X and ioutil.X into FS.X, and *os.File into File. n is the
// number of places changed. Anything it does not know is an error.
func rewrite(src []byte) (hooked []byte, n int, err error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, "", src, parser.ParseComments)
	if err != nil {
		return nil, 0, fmt.Errorf("tidwallfs: %w", err)
	}
	var edits []edit
	replace := func(old ast.Node, text string) {
		edits = append(edits, edit{fset.Position(old.Pos()).Offset, fset.Position(old.End()).Offset, text})
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if star, ok := n.(*ast.StarExpr); ok && diskName(star.X) == "File" {
			replace(star, "File")
			return false
		}
		switch name := diskName(n); {
		case slices.Contains(hookable, name):
			replace(n.(*ast.SelectorExpr).X, "FS")
		case name != "" && !slices.Contains(harmless, name):
			err = fmt.Errorf("tidwallfs: the library uses %s of os or ioutil, which the hook does not know", name)
		}
		return true
	})
	n = len(edits)
	for _, spec := range tree.Imports {
		if spec.Path.Value == `"io/ioutil"` {
			replace(spec, "")
		}
	}
	return apply(src, edits), n, err
}

// diskName is X when n is os.X or ioutil.X, else empty.
func diskName(n ast.Node) string {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if pkg, ok := sel.X.(*ast.Ident); ok && (pkg.Name == "os" || pkg.Name == "ioutil") {
		return sel.Sel.Name
	}
	return ""
}

func apply(src []byte, edits []edit) []byte {
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(append(out, src[at:e.from]...), e.text...)
		at = e.to
	}
	return append(out, src[at:]...)
}

package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// row says what a package's production code may import, directly: packages of
// this module and, with a dot in their first part, of others. The standard
// library is free, but for the disk (see diskFree).
type row struct {
	name    string
	imports string
}

// levels is the import-direction table (DESIGN 3): every package of the module
// on its level, from the bottom up. Imports point down only, and packages of
// one level never meet.
var levels = [][]row{
	{
		{"internal/graph", ""},
		{"internal/vfs", "golang.org/x/sys/unix"},
	},
	{
		{"internal/vfs/crashfs", "internal/vfs"},
		{"internal/vfs/tidwallfs", "internal/vfs github.com/tidwall/wal"},
		{"internal/vfs/vfstest", "internal/vfs"},
		{"wal", "internal/vfs github.com/google/uuid github.com/tidwall/wal github.com/zeebo/xxh3"},
	},
	{
		{"backup/objects", "internal/vfs github.com/google/uuid"},
		{"internal/heap", "internal/vfs wal github.com/google/uuid"},
	},
	{
		{"backup/archive", "backup/objects wal filippo.io/age github.com/google/uuid github.com/klauspost/compress/zstd github.com/zeebo/xxh3"},
		{"backup/archive/archivetest", "wal"},
		{"backup/objects/objectstest", "backup/objects"},
		{"backup/objects/s3store", "backup/objects github.com/aws/aws-sdk-go-v2/aws github.com/aws/aws-sdk-go-v2/aws/retry " +
			"github.com/aws/aws-sdk-go-v2/aws/transport/http github.com/aws/aws-sdk-go-v2/config github.com/aws/aws-sdk-go-v2/service/s3 " +
			"github.com/aws/aws-sdk-go-v2/service/s3/types github.com/aws/smithy-go github.com/aws/smithy-go/logging github.com/google/uuid"},
		{"backup/objects/s3store/s3test", "golang.org/x/sys/unix"},
	},
	{
		{"backup/pins", "backup/archive backup/objects wal github.com/google/uuid"},
	},
	{
		{"apply/pagestore/node", "internal/heap wal"},
		{"backup/ship", "backup/archive backup/objects backup/pins wal filippo.io/age github.com/google/uuid"},
	},
	{
		{"apply/pagestore/catalogue", "apply/pagestore/node internal/heap wal"},
		{"apply/pagestore/manifest", "apply/pagestore/node internal/heap internal/vfs wal github.com/google/uuid"},
		{"apply/pagestore/pagetree", "apply/pagestore/node internal/heap wal"},
	},
	{
		{"apply/pagestore", "apply/pagestore/catalogue apply/pagestore/manifest apply/pagestore/node apply/pagestore/pagetree " +
			"internal/heap internal/vfs wal github.com/google/uuid"},
	},
	{
		{"apply", "apply/pagestore apply/pagestore/pagetree internal/heap wal"},
		{"quarantine", "internal/heap internal/vfs wal"},
	},
	{
		{"backup", "apply/pagestore wal github.com/google/uuid"},
		{"backup/snapshot", "apply/pagestore apply/pagestore/manifest backup/archive backup/objects backup/pins backup/ship internal/vfs wal filippo.io/age github.com/google/uuid"},
		{"recovery", "apply apply/pagestore apply/pagestore/manifest internal/heap internal/vfs quarantine wal github.com/google/uuid"},
	},
	{
		{"backup/restore", "apply/pagestore apply/pagestore/manifest backup/archive backup/objects backup/pins backup/ship backup/snapshot internal/vfs wal " +
			"filippo.io/age github.com/google/uuid"},
		{"backup/retain", "backup/archive backup/objects backup/pins backup/ship backup/snapshot internal/vfs wal filippo.io/age"},
	},
	{
		{"backup/repair", "apply/pagestore apply/pagestore/manifest backup/archive backup/objects backup/restore backup/ship backup/snapshot internal/vfs recovery wal " +
			"filippo.io/age github.com/google/uuid"},
	},
	{
		{"apply/pagestore/pagestoretest", "apply apply/pagestore apply/pagestore/manifest internal/heap internal/vfs wal github.com/google/uuid"},
	},
	{
		{"txn", "apply apply/pagestore apply/pagestore/manifest apply/pagestore/pagetree backup/archive backup/objects backup/repair backup/restore backup/ship backup/snapshot internal/heap internal/vfs quarantine recovery wal " +
			"github.com/google/uuid github.com/rs/zerolog"},
	},
	{
		{"backup/backuptest", "apply/pagestore backup/objects backup/ship backup/snapshot internal/vfs recovery txn wal"},
		{"internal/bench", "internal/vfs txn wal golang.org/x/sys/unix"},
		{"internal/demo", "backup/objects backup/restore backup/ship backup/snapshot internal/vfs recovery txn wal"},
	},
	{
		{"cmd/txnctl", anything},
		{"tests", anything},
	},
}

// anything marks the top: what is below cmd/txnctl and tests too.
const anything = "*"

// forTests are packages that only tests, and packages below tests/, import.
var forTests = []string{
	"internal/vfs/crashfs", "internal/vfs/tidwallfs", "internal/vfs/vfstest", "tests/verifytest",
	"apply/pagestore/pagestoretest", "backup/archive/archivetest", "backup/backuptest", "backup/objects/objectstest", "backup/objects/s3store/s3test",
	"pgregory.net/rapid", "go.uber.org/goleak", "github.com/anishathalye/porcupine", "github.com/rogpeppe/go-internal/testscript",
}

// logLibrary is imported by package wal only. Package tidwallfs builds it
// anew, with another disk beneath.
const logLibrary = "github.com/tidwall/wal"

// diskFree are the names of package os that reach no disk. Production code
// beside diskUsers imports nothing else of the operating system.
var diskFree = []string{"Getpid", "Hostname"}

// diskUsers may reach the disk without internal/vfs, each for a reason.
var diskUsers = map[string]string{
	"internal/vfs":                  "it is the disk",
	"internal/vfs/crashfs":          "it returns the system's error numbers",
	"internal/vfs/tidwallfs":        "test support: it writes the sources of the library that is tested",
	"internal/vfs/vfstest":          "test support: it expects the system's error numbers",
	"apply/pagestore/pagestoretest": "test support: it makes the disk fail with the system's error numbers",
	"backup/objects/objectstest":    "test support: it starts processes and kills its own",
	"backup/objects/s3store/s3test": "test support: it starts a server, and makes what that needs",
	"internal/bench":                "it measures the disk itself: what its device wrote, from /proc and /sys",
	"internal/demo":                 "it reads the files it imports, and kills a process of its own",
	"cmd/txnctl":                    "it reads and writes the files a user names",
	"tests":                         "tests",
}

const module = "github.com/quire-db/quire/"

// source is one Go file of the module, whatever its build tags.
type source struct {
	file string // from the top of the module
	pkg  string // the directory
	test bool
	ast  *ast.File
}

func TestEveryPackageHasALevel(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if level(s.pkg) < 0 && !seen[s.pkg] {
			t.Errorf("package %s is not in the table of levels", s.pkg)
		}
		seen[s.pkg] = true
	}
	for _, l := range levels {
		for _, r := range l {
			if !seen[r.name] && r.imports != anything {
				t.Errorf("the table has package %s, the module does not", r.name)
			}
		}
	}
}

func TestTablePointsDown(t *testing.T) {
	for i, l := range levels {
		for _, r := range l {
			for _, imp := range strings.Fields(r.imports) {
				if r.imports != anything && !foreign(imp) && (level(imp) < 0 || level(imp) >= i) {
					t.Errorf("%s may import %s, which is not below it", r.name, imp)
				}
			}
		}
	}
}

func TestImports(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		for _, imp := range importsOf(s) {
			used[s.pkg+" "+imp] = used[s.pkg+" "+imp] || !s.test
			if why := refused(s, imp); why != "" {
				t.Errorf("%s imports %s: %s", s.file, imp, why)
			}
		}
	}
	for _, l := range levels {
		for _, r := range l {
			for _, imp := range strings.Fields(r.imports) {
				if imp != anything && !used[r.name+" "+imp] {
					t.Errorf("the table lets %s import %s, which it does not: take it out", r.name, imp)
				}
			}
		}
	}
}

// refused says why a file may not import a package; empty when it may.
func refused(s source, imp string) string {
	r := rowOf(s.pkg)
	allowed := strings.Fields(r.imports)
	switch {
	case imp == logLibrary && r.name != "wal" && r.name != "internal/vfs/tidwallfs":
		return "only package wal does"
	case r.name == "tests":
		return ""
	case slices.Contains(forTests, imp):
		if !s.test {
			return "only tests do"
		}
		return ""
	case r.imports == anything || slices.Contains(allowed, imp):
		return ""
	case s.test && imp == "github.com/google/uuid":
		return "" // identifiers are made of it
	case s.test && imp == "filippo.io/age":
		return "" // keys are
	case s.test && foreign(imp):
		return "a library for tests is named in forTests"
	case s.test && level(imp) >= 0 && level(imp) < level(s.pkg):
		return "" // tests may use all that is below
	case s.test && strings.HasSuffix(s.ast.Name.Name, "_test") && imp != "cmd/txnctl":
		return "" // and those outside the package what is above: recovery's make their stores with txn
	case s.test:
		return "it is not below"
	}
	return "the table does not allow it"
}

func TestDiskIsBehindVFS(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || diskUsers[rowOf(s.pkg).name] != "" {
			continue
		}
		for _, imp := range s.ast.Imports {
			name := unquote(imp.Path.Value)
			if name == "syscall" || name == "io/ioutil" || name == "os/exec" || strings.HasPrefix(name, "golang.org/x/sys/") {
				t.Errorf("%s imports %s: only internal/vfs touches the disk", s.file, name)
			}
			if name == "os" && imp.Name != nil {
				t.Errorf("%s imports os under another name", s.file)
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && x.Obj == nil && !slices.Contains(diskFree, sel.Sel.Name) {
				t.Errorf("%s uses os.%s: only internal/vfs touches the disk", s.file, sel.Sel.Name)
			}
			return true
		})
	}
}

// importsOf lists what a file imports, without the standard library and
// without the module's own prefix.
func importsOf(s source) []string {
	var imports []string
	for _, imp := range s.ast.Imports {
		name := unquote(imp.Path.Value)
		if own, ok := strings.CutPrefix(name, module); ok {
			imports = append(imports, own)
		} else if foreign(name) {
			imports = append(imports, name)
		}
	}
	return imports
}

// foreign reports whether an import path is another module's.
func foreign(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return strings.Contains(first, ".")
}

func unquote(s string) string {
	u, _ := strconv.Unquote(s)
	return u
}

// level is the package's place in the table, or -1.
func level(pkg string) int {
	for i, l := range levels {
		if slices.ContainsFunc(l, func(r row) bool { return r.covers(pkg) }) {
			return i
		}
	}
	return -1
}

// rowOf is the package's row.
func rowOf(pkg string) row {
	for _, l := range levels {
		if i := slices.IndexFunc(l, func(r row) bool { return r.covers(pkg) }); i >= 0 {
			return l[i]
		}
	}
	return row{}
}

func (r row) covers(pkg string) bool {
	return r.name == pkg || r.imports == anything && strings.HasPrefix(pkg, r.name+"/")
}

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	const top = ".."
	err := filepath.WalkDir(top, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := e.Name()
		if e.IsDir() && name != top && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(base, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		file := filepath.ToSlash(strings.TrimPrefix(name, top+string(filepath.Separator)))
		all = append(all, source{file: file, pkg: path.Dir(file), test: strings.HasSuffix(base, "_test.go"), ast: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("%d Go files found: the walk is wrong", len(all))
	}
	return all
}

//! Where the control groups of this process are found: which group it is in, and where that is mounted.

use std::path::{Component, Path, PathBuf};

use super::read;

/// The controllers of version 1 have a hierarchy each, or share one; version 2 has one for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// That of a controller of version 1.
    V1(&'static str),
    /// The one of version 2.
    V2,
}

/// What the kernel says about mounts and groups.
#[derive(Debug)]
pub(super) struct Mounts {
    /// What stands for `/`.
    root: PathBuf,
    mounted: Vec<Mount>,
    memberships: Vec<Membership>,
}

/// A hierarchy, or a part of it, that is mounted.
#[derive(Debug)]
struct Mount {
    kind: Kind,
    /// The group that is seen at the mount point.
    group: PathBuf,
    point: PathBuf,
}

/// Of which hierarchy a mount is.
#[derive(Debug)]
enum Kind {
    V1(Vec<String>),
    V2,
}

/// In which group of a hierarchy this process is.
#[derive(Debug)]
struct Membership {
    /// Empty in version 2.
    controllers: Vec<String>,
    group: PathBuf,
}

impl Mounts {
    /// Reads what the kernel says; where it says nothing, there are none.
    pub(super) fn read(root: &Path) -> Self {
        let text = |name: &str| read(&root.join("proc/self").join(name)).unwrap_or_default();
        Self {
            root: root.to_owned(),
            mounted: text("mountinfo").lines().filter_map(mount).collect(),
            memberships: text("cgroup").lines().filter_map(membership).collect(),
        }
    }

    /// The folders of this process's group in a hierarchy and of all above it that can be seen, its own first.
    pub(super) fn folders(&self, hierarchy: Hierarchy) -> Vec<PathBuf> {
        let Some(membership) = self.memberships.iter().find(|membership| membership.is_of(hierarchy)) else {
            return Vec::new();
        };
        // A hierarchy may be mounted more than once: the mount that shows most of what is above us is taken.
        let mounts = self.mounted.iter().filter(|mount| mount.is_of(hierarchy));
        let seen = mounts.map(|mount| (mount, mount.path_to(&membership.group)));
        let Some((mount, below)) = seen.max_by_key(|(_, below)| below.as_ref().map(|below| below.components().count()))
        else {
            return Vec::new();
        };
        // A container is often shown its own group as if that were the whole, while the group is named from outside: then
        // what is at the mount point is ours.
        let own = below.unwrap_or_default();
        let point = self.root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
        own.ancestors().map(|group| point.join(group)).collect()
    }
}

impl Mount {
    fn is_of(&self, hierarchy: Hierarchy) -> bool {
        match (&self.kind, hierarchy) {
            (Kind::V1(controllers), Hierarchy::V1(wanted)) => controllers.iter().any(|controller| controller == wanted),
            (Kind::V2, Hierarchy::V2) => true,
            (Kind::V1(_), Hierarchy::V2) | (Kind::V2, Hierarchy::V1(_)) => false,
        }
    }

    /// The way from the mount point to a group, where that lies below it.
    fn path_to(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.group).ok()?;
        // `..` leads out of the namespace of groups, to what is not mounted here.
        below.components().all(|part| matches!(part, Component::Normal(_))).then(|| below.to_owned())
    }
}

impl Membership {
    fn is_of(&self, hierarchy: Hierarchy) -> bool {
        match hierarchy {
            Hierarchy::V1(wanted) => self.controllers.iter().any(|controller| controller == wanted),
            Hierarchy::V2 => self.controllers.is_empty(),
        }
    }
}

/// A line of `mountinfo`, where it is about control groups. Source: Linux, `proc_pid_mountinfo(5)`.
fn mount(line: &str) -> Option<Mount> {
    // Optional fields lie before the hyphen, and their number varies.
    let (place, about) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (group, point) = (unescaped(place.next()?), unescaped(place.next()?));
    let mut about = about.split(' ');
    let kind = match about.next()? {
        "cgroup2" => Kind::V2,
        "cgroup" => Kind::V1(about.nth(1)?.split(',').map(str::to_owned).collect()),
        _ => return None,
    };
    Some(Mount { kind, group: group.into(), point: point.into() })
}

/// A line of `cgroup`. Source: Linux, cgroups(7).
fn membership(line: &str) -> Option<Membership> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    // Hierarchy 0 is version 2. One of version 1 without controllers has a name, and limits nothing.
    let is_v2 = number == "0" && controllers.is_empty();
    let named = controllers.split(',').filter(|controller| !controller.is_empty()).map(str::to_owned).collect();
    (is_v2 || !controllers.is_empty()).then(|| Membership { controllers: named, group: group.into() })
}

/// A path as `mountinfo` spells it, where a space, for one, is `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_at_checked(3).map(|(digits, rest)| (u8::from_str_radix(digits, 8), rest)) {
            Some((Ok(code), rest)) if code.is_ascii() => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

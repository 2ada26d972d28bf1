from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from debbie_otel.integrations.adoption import Adoption, attributes

T = TypeVar("T")


class Plain:
    """A class like most."""

    def __init__(self) -> None:
        self.number = 1

    def double(self) -> int:
        return 2 * self.number


class Slotted:
    __slots__ = ("__private", "number", "unset")

    def __init__(self) -> None:
        self.number = 1
        self.__private = "p"

    def double(self) -> int:
        return 2 * self.number


class Abstract(ABC):
    @abstractmethod
    def double(self) -> int: ...


class Concrete(Abstract, Generic[T]):
    kinds: ClassVar[int] = 0

    def __init__(self) -> None:
        self._number = 1

    @property
    def number(self) -> int:
        return self._number

    @number.setter
    def number(self, value: int) -> None:
        self._number = value

    def double(self) -> int:
        return 2 * self._number


class Child(Plain):
    """Calls its parent's methods, and sees to its attributes itself."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)

    def double(self) -> int:
        return super().double()


KINDS: list[type[Any]] = [Plain, Slotted, Concrete, Child]


@pytest.mark.parametrize("kind", KINDS)
def test_it_sees_and_stands_before_until_it_is_released(kind: type[Any]) -> None:
    seen: list[tuple[str, Any]] = []

    def sees(name: str, value: Any) -> Any:
        seen.append((name, value))
        return value * 10

    def tenfold(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda: 10 * method()

    target, other = kind(), kind()
    adoption = Adoption(target, sees, {"double": tenfold, "missing": tenfold})
    target.number = 3
    assert seen[0] == ("number", 3)
    assert target.number in (30, 300)  # a property's own attribute is seen too
    assert target.double() == 20 * target.number
    assert isinstance(target, kind)
    assert (type(target).__name__, type(target).__doc__) == (kind.__name__, kind.__doc__)
    assert not hasattr(target, "missing")
    assert Adoption.of(target)
    other.number = 5
    assert other.double() == 10
    adoption.release()
    assert type(target) is kind
    assert not Adoption.of(target)
    target.number = 7
    assert target.double() == 14


def test_a_method_that_the_object_holds_itself() -> None:
    target = Plain()
    target.double = lambda: 5  # type: ignore[method-assign]
    adoption = Adoption(
        target, lambda _, value: value, {"double": lambda method: lambda: -method()}
    )
    assert target.double() == -5
    adoption.release()
    assert target.double() == 5


def test_what_has_got_another_class_meanwhile_keeps_it() -> None:
    target: Any = Plain()
    adoption = Adoption(target, lambda _, value: value)
    target.__class__ = Child
    adoption.release()
    assert type(target) is Child


def test_what_cannot_have_another_class() -> None:
    with pytest.raises(TypeError):
        Adoption([], lambda _, value: value)


def test_what_an_object_holds() -> None:
    assert dict(attributes(Plain())) == {"number": 1}
    assert dict(attributes(Slotted())) == {"number": 1, "_Slotted__private": "p"}
    assert dict(attributes(Concrete())) == {"_number": 1}
    assert dict(attributes(3)) == {}
